"""Task modules are found in apps, in packages and by full path; a broken one is an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.test import override_settings

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.worker.discover import discover

FILES = {
    "dishapp/__init__.py": "",
    "dishapp/tasks.py": "",
    "packapp/__init__.py": "",
    "packapp/tasks/__init__.py": "",
    "packapp/tasks/one.py": "",
    "packapp/tasks/deep/__init__.py": "",
    "packapp/tasks/deep/two.py": "",
    "plainapp/__init__.py": "",
    "brokenapp/__init__.py": "",
    "brokenapp/tasks.py": "import no_such_module",
    "looseproject/__init__.py": "",
    "looseproject/jobs.py": "",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in {f.split("/")[0] for f in FILES}]:
        del sys.modules[name]


def found(*installed: str, **changes: object) -> list[str]:
    with override_settings(INSTALLED_APPS=["django_cfg.apps.tasks", *installed]):
        return discover(replace(TaskSettings(), **changes))


def test_the_tasks_of_each_app_are_imported_and_apps_without_any_are_fine() -> None:
    assert found("dishapp", "plainapp") == ["dishapp.tasks"]
    assert "dishapp.tasks" in sys.modules


def test_a_package_of_tasks_is_imported_with_everything_below() -> None:
    assert found("packapp") == ["packapp.tasks", "packapp.tasks.deep", "packapp.tasks.deep.two", "packapp.tasks.one"]


def test_full_paths_are_imported_without_an_app_and_without_discovery() -> None:
    assert found(task_modules=("looseproject.jobs",), auto_discover_tasks=False) == ["looseproject.jobs"]
    assert found("dishapp", auto_discover_tasks=False) == []


def test_the_error_of_a_broken_task_module_is_raised_as_it_is() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no_such_module"):
        found("brokenapp")


@pytest.mark.parametrize("path", ["looseproject.jobz", "nowhere.jobs"])
def test_a_full_path_that_does_not_exist_is_refused_by_name(path: str) -> None:
    with pytest.raises(ConfigurationError, match=f"task_modules names '{path}'"):
        found(task_modules=(path,))
