"""The project that the guides start from: the one that the README's tutorial makes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import blocks
from tests.docs.reader import environment

REPOSITORY = Path(__file__).parents[2]
SETTINGS = "mysite/settings.py"


@pytest.fixture(scope="session")
def tutorial_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated Django project with the settings of the README."""
    project = tmp_path_factory.mktemp("tutorial")
    _manage("django", ["startproject", "mysite", "."], project)
    _manage("django", ["startapp", "shop"], project)
    with (project / SETTINGS).open("a") as settings:
        settings.writelines(
            block.text
            for block in blocks(REPOSITORY / "README.md")
            if block.title == SETTINGS and "append" in block.flags
        )
    subprocess.run(
        [sys.executable, "manage.py", "migrate"], cwd=project, env=environment(), check=True, capture_output=True
    )
    return project


def _manage(module: str, arguments: list[str], directory: Path) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=directory, env=environment(), check=True)


@pytest.fixture
def project(tutorial_project: Path, tmp_path: Path) -> Path:
    """A copy of one's own for a page."""
    return Path(shutil.copytree(tutorial_project, tmp_path / "project"))
