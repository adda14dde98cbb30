"""Task workers under `prodserver` run a real task and end by SIGTERM."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.prodserver_site import Site, stop

pytestmark = [pytest.mark.process, pytest.mark.servers]
WORKER = {
    "BACKEND": "django_prodserver.backends.dramatiq.DramatiqWorker",
    "ARGS": {"processes": "1", "threads": 2, "queues": ["default"], "log_level": "info"},
}


@pytest.mark.parametrize("words", [(), ("--exec",)], ids=["here", "fresh"])
def test_dramatiq_worker_runs_a_task_and_ends_when_it_is_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    site = Site(tmp_path / "site", {"worker": WORKER})
    assert site.run("migrate", "-v0") == (0, "")
    note = tmp_path / "note"
    site.run("shell", "-c", f"from work.tasks import leave_note; leave_note.send({str(note)!r})")

    with site.running("prodserver", "worker", "--wait-for", "db,broker", *words) as process:
        eventually(note.exists, within_s=20)
        if words:
            cmdline = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
            assert b"rundramatiq" in cmdline  # so that pgrep -f finds it
        code, output = stop(process)

        assert code == 0, output
        assert "rundramatiq: 1 processes x 2 threads" in output and "Traceback" not in output
        eventually(site.has_nothing_left, within_s=5)


@pytest.mark.parametrize(
    ("backend", "command"),
    [("dramatiq.CronTicker", "dramatiq_cron"), ("django_tasks.DjangoTasksWorker", "db_worker")],
)
def test_worker_without_its_command_is_refused_in_one_line(tmp_path: Path, backend: str, command: str) -> None:
    entry = {"BACKEND": f"django_prodserver.backends.{backend}", "ARGS": {"processes": "4", "threads": "1"}}
    site = Site(tmp_path / "site", {"worker": entry})

    if command in site.run("help", "--commands")[1].split():
        pytest.skip(f"this version has {command}")
    code, output = site.run("prodserver", "worker")

    assert code == 2 and f"this project has no command {command!r}" in output
    assert len(output.strip().splitlines()) == 1


def test_wait_that_is_in_vain_ends_with_code_3(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"worker": WORKER})
    code, output = site.run("prodserver", "worker", "--wait-for", "127.0.0.1:1", "--wait-timeout", "0.3")
    assert code == 3 and "127.0.0.1:1 did not answer within 0.3 s" in output
