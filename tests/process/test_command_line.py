"""What can be asked of `rundramatiq`, and what it refuses."""

from __future__ import annotations

import os

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "words",
    [["--queues", "mail,exports"], ["--queues", "mail", "--queues", "exports"], ["--queues", "mail", "exports"]],
    ids=["comma", "repeated", "spaces"],
)
def test_queues_in_each_spelling_are_exactly_those_that_are_served(project: Project, words: list[str]) -> None:
    project.write(processes=1)
    ids = project.send("quick.send()", "mail.send()", "export.send()")
    workers = project.start(*words)
    eventually(lambda: project.ids("end") == dict.fromkeys(ids[1:], 1))
    assert "queues: mail, exports;" in workers.log
    assert workers.stop() == 0
    assert project.ids("start") == dict.fromkeys(ids[1:], 1)


def test_what_cannot_be_served_is_refused_with_exit_code_2_and_a_cure(project: Project) -> None:
    project.write()
    (project.path / "note.txt").write_text("precious")
    refused = {
        ("--queues", "exprots"): "Did you mean 'exports'?",
        ("--queues", ","): "names no queue",
        ("--queues", ""): "names no queue",
        ("--processes", "0"): "must be between 1 and 32, got 0",
        ("--processes", "33"): "must be between 1 and 32, got 33",
        ("--threads", "many"): "expected a whole number, got 'many'",
        ("--log-level", "loud"): "invalid choice: 'loud'",
        ("--pid-file", "note.txt"): "is not a pid file",
        ("--watch", "nowhere"): "no such directory",
    }
    for words, text in refused.items():
        done = project.manage("rundramatiq", *words, check=False)
        assert (done.returncode, text in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    loud = project.manage("rundramatiq", check=False, DJANGO_LOG_LEVEL="loud")
    assert (loud.returncode, "DJANGO_LOG_LEVEL='loud'" in loud.stderr) == (2, True)
    assert (project.path / "note.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "env", "shows_info"),
    [
        ([], {}, True),
        ([], {"DJANGO_LOG_LEVEL": "ERROR"}, False),
        (["--log-level", "info"], {"DJANGO_LOG_LEVEL": "error"}, True),
    ],
    ids=["default", "variable", "option wins"],
)
def test_the_log_level_is_the_options_else_the_variables(
    project: Project, words: list[str], env: dict[str, str], shows_info: bool
) -> None:
    project.write(processes=1)
    [task] = project.send("quick.send()")
    workers = project.start(*words, **env)
    eventually(lambda: project.ids("end") == {task: 1})
    assert workers.stop() == 0
    assert ("Started worker 1" in workers.log) is shows_info


def test_logs_never_show_arguments(project: Project) -> None:
    project.write(processes=1, max_retries=1)
    canary = "s3cret-canary"
    ids = project.send(f"quick.send('{canary}')", f"failing.send('{canary}')", f"quick.send(wrong='{canary}')")
    workers = project.start("--log-level", "debug")
    eventually(lambda: project.counts()["dead"] == 2, within_s=40)
    assert workers.stop() == 0
    assert ids[1] in workers.log
    assert canary not in workers.log


@pytest.mark.parametrize(
    "words",
    [
        ("dramatiq_status", "--json"),
        ("dramatiq_status", "--watch", "0.1"),
        ("dramatiq_workers", "--json"),
        ("dramatiq_tasks", "list"),
        ("dramatiq_doctor",),
        ("dramatiq_cron", "--list"),
    ],
    ids=" ".join,
)
def test_output_that_nobody_reads_to_its_end_is_no_failure(project: Project, words: tuple[str, ...]) -> None:
    project.write()
    reader, writer = os.pipe()
    os.close(reader)
    done = project.manage(*words, check=False, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
