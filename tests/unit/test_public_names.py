from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import django_cfg

FROM_THE_CONFIGURATION = sorted(set(django_cfg.__all__) - {"DjangoEmailService", "DjangoTelegram"})


def _imported_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_neither_django_nor_dramatiq_nor_pydantic() -> None:
    assert not {"django", "dramatiq", "pydantic", "yaml", "redis"} & _imported_by("import django_cfg")


def test_reading_the_configuration_imports_neither_django_nor_dramatiq() -> None:
    code = "from django_cfg import DjangoConfig, TaskConfig\nDjangoConfig(tasks=TaskConfig()).get_all_settings()"

    assert not {"django", "dramatiq", "redis"} & _imported_by(code)


@pytest.mark.parametrize("name", FROM_THE_CONFIGURATION)
def test_a_public_name_resolves_to_the_thing_of_that_name(name: str) -> None:
    assert getattr(django_cfg, name).__name__ == name


def test_public_names_are_sorted_and_each_is_resolved_and_typed() -> None:
    tree = ast.parse(Path(django_cfg.__file__).read_text())
    typed = {
        alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }

    assert django_cfg.__all__ == sorted(django_cfg.__all__)
    assert set(django_cfg.__all__) == typed == set(django_cfg._HOMES)
    assert set(django_cfg.__all__) <= set(dir(django_cfg))


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'django_cfg' has no attribute 'TaskConfg'"):
        _ = django_cfg.TaskConfg
