"""Tables of the guides name everything that there is."""

from __future__ import annotations

import inspect
import re

from django_cfg.tasks import checks
from django_cfg.tasks.brokers import make
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.management.commands.rundramatiq import Command
from tests.docs.conftest import REPOSITORY

GUIDES = REPOSITORY / "docs" / "guides"
OF_DJANGO = {"--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color", "--force-color",
             "--skip-checks", "--help"}  # fmt: skip
#: Set by Dramatiq in messages of a pipeline; nobody writes it.
OF_PIPELINES = {"pipe_target"}


def rows(page: str) -> set[str]:
    """The first cells of all table rows, without their backticks, one name each."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([^|]+) \|", text, re.M)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_check_has_its_row() -> None:
    ids = {f"django_cfg_tasks.{number}" for number in re.findall(r"\{LABEL\}\.([EW]\d+)", inspect.getsource(checks))}
    assert ids
    assert ids <= rows("checks.md")


def test_every_option_of_a_task_has_its_row() -> None:
    known = make.make(TaskSettings(broker_url="stub://")).known_options
    assert known - OF_PIPELINES <= rows("tasks.md")


def test_every_flag_of_rundramatiq_has_its_row() -> None:
    parser = Command().create_parser("manage.py", "rundramatiq")
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    shown = {name.split()[0] for name in rows("workers.md")}
    assert flags - OF_DJANGO <= shown


def test_every_test_that_the_guide_of_django_tasks_names_is_there() -> None:
    text = (GUIDES / "django-tasks.md").read_text(encoding="utf-8")
    rows_of_table = re.findall(r"^\| (\d+) [^|]+ \| (.+) \|$", text, re.M)
    assert [int(number) for number, _ in rows_of_table] == list(range(1, 26))
    for _, cell in rows_of_table:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", cell)
        assert named
        for path, name in named:
            assert f"def {name}(" in (REPOSITORY / "tests" / path).read_text(encoding="utf-8"), name
