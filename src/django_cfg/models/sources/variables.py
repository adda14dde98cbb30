"""Variables as a layer: `PREFIX_SECTION__FIELD`, and `..._FILE` for values that stand in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel

from django_cfg.models.problem import suggest
from django_cfg.models.sources.fields import annotation_at, is_list, is_nested, paths_of
from django_cfg.models.sources.layer import Entry, Layer, Path

_FILE_SUFFIX = "_file"


class VariableReader:
    """Reads variables for one model.

    Args:
        prefix: what every variable of the project starts with. Without one, unknown names cannot be told
            from variables of other programs and are not reported.
        delimiter: between a section and a field.
    """

    def __init__(self, model: type[BaseModel], prefix: str, delimiter: str) -> None:
        self.model, self.prefix, self.delimiter = model, prefix, delimiter

    def read(self, variables: Mapping[str, Entry]) -> Layer:
        """The layer of these variables, each with its origin; names of other programs are passed over."""
        layer = Layer()
        for name, entry in variables.items():
            if name.lower().startswith(self.prefix.lower()):
                self._place(layer, name, entry)
        return layer

    def name_of(self, path: Path) -> str:
        return (self.prefix + self.delimiter.join(path)).upper()

    def _place(self, layer: Layer, name: str, entry: Entry) -> None:
        path = tuple(name[len(self.prefix) :].lower().split(self.delimiter.lower()))
        annotation = annotation_at(self.model, path)
        if annotation is None and path[-1].endswith(_FILE_SUFFIX):
            path = (*path[:-1], path[-1].removesuffix(_FILE_SUFFIX))
            annotation = annotation_at(self.model, path)
            if annotation is not None:
                entry = _content(layer, path, name, entry)
        if annotation is None:
            self._unknown(layer, path, name, entry)
        elif path in layer.entries:
            both = f"{name} and {self.name_of(path)} both give a value"
            layer.refuse(path, both, entry.origin, "remove one of them")
        elif entry.value is not None:
            self._put(layer, path, name, annotation, entry)

    def _put(self, layer: Layer, path: Path, name: str, annotation: Any, entry: Entry) -> None:
        try:
            value = _decoded(entry.value, annotation)
        except ValueError:
            layer.refuse(path, f"{name} is not valid JSON", entry.origin, _json_cure(annotation))
            return
        layer.put(path, name, value, entry.origin)

    def _unknown(self, layer: Layer, path: Path, name: str, entry: Entry) -> None:
        if not self.prefix:
            return
        # Without the prefix, which alone would make all names similar.
        known = [self.delimiter.join(known_path) for known_path in paths_of(self.model)]
        close = suggest(self.delimiter.join(path), known)
        names = ", ".join(self.name_of((field,)) for field in self.model.model_fields)
        cure = f"did you mean {self.name_of((close,))}?" if close else f"remove it; sections and fields: {names}"
        layer.refuse(path, f"unknown variable {name}", entry.origin, cure)


def _content(layer: Layer, path: Path, name: str, entry: Entry) -> Entry:
    """The text of the file that a `..._FILE` variable names; its value is None after a problem."""
    file = FilePath(entry.value)
    origin = f"file {file}, named by {entry.origin}"
    try:
        # Editors and `echo` end a file with a line break that belongs to no password.
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        layer.refuse(path, f"{name} names a file that cannot be read ({reason})", origin, "correct the path")
        return Entry(None, origin)
    return Entry(text, origin)


def _decoded(text: str, annotation: Any) -> Any:
    """Objects are JSON; lists are JSON or separated by commas; everything else stays text.

    Raises:
        ValueError: it should be JSON and is not.
    """
    if not text.strip():
        return text
    if is_nested(annotation):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        return value
    if is_list(annotation):
        return json.loads(text) if text.lstrip().startswith("[") else [item.strip() for item in text.split(",")]
    return text


def _json_cure(annotation: Any) -> str:
    return 'write a JSON object like {"key": 1}' if is_nested(annotation) else 'write a,b or ["a", "b"]'
