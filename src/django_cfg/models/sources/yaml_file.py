"""A YAML file as a layer; every value remembers its line."""

from __future__ import annotations

from pathlib import Path as FilePath

import yaml

from django_cfg.models.sources.layer import Layer, Path

_WHERE = ("yaml_file",)


def read_yaml(file: FilePath) -> Layer:
    """The values of one file. It was named, so a missing file is a problem."""
    layer = Layer()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        layer.refuse(_WHERE, f"the YAML file cannot be read ({reason})", str(file), "correct yaml_file")
        return layer
    _Reader(layer, file).read(text)
    return layer


class _Reader:
    def __init__(self, layer: Layer, file: FilePath) -> None:
        self.layer, self.file = layer, file

    def read(self, text: str) -> None:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if isinstance(root, yaml.MappingNode):
                self._mapping(loader, root, ())
            elif root is not None:
                self._refuse((), "the file is not a mapping", root, "write `section:` and `  field: value`")
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        finally:
            loader.dispose()

    def _mapping(self, loader: yaml.SafeLoader, node: yaml.MappingNode, path: Path) -> None:
        self._report_doubles(node, path)
        loader.flatten_mapping(node)  # expands `<<: *anchor`
        for key, value in node.value:
            below = (*path, str(loader.construct_object(key)))
            if isinstance(value, yaml.MappingNode) and value.value:
                self._mapping(loader, value, below)
            else:
                origin = self._origin(key)
                self.layer.put(below, ".".join(below), loader.construct_object(value, deep=True), origin)

    def _report_doubles(self, node: yaml.MappingNode, path: Path) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                self._refuse((*path, key.value), f"{key.value} is written twice", key, "remove one of them")
            seen.add(str(key.value))

    def _refuse(self, path: Path, what: str, node: yaml.Node, cure: str) -> None:
        self.layer.refuse(path or _WHERE, what, self._origin(node), cure)

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        # Not str(error): it quotes the line, which may hold a password.
        mark = error.problem_mark or error.context_mark
        origin = f"{self.file}:{mark.line + 1}" if mark else str(self.file)
        self.layer.refuse(_WHERE, f"YAML syntax: {error.problem or error.context}", origin, "correct this line")

    def _origin(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"
