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

TICKS = "from django_cfg.tasks.models import Tick; print(*Tick.objects.values_list('kind', flat=True))"


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


def test_cron_ticker_enqueues_a_tick_that_a_worker_runs_and_ends_when_it_is_told(tmp_path: Path) -> None:
    ticker = {"BACKEND": "django_prodserver.backends.dramatiq.CronTicker"}
    site = Site(tmp_path / "site", {"worker": WORKER, "cron": ticker})
    note = str(tmp_path / "note")
    job = {"actor_name": "leave_note", "every_s": 1, "args": [note]}
    site.add_settings(f"DRAMATIQ_CRON_JOBS = [{job!r}]")
    assert site.run("migrate", "-v0") == (0, "")

    with site.running("prodserver", "cron", "--wait-for", "db") as process:
        eventually(lambda: "due" in site.run("shell", "-v0", "-c", TICKS)[1], within_s=30)
        code, output = stop(process)
        assert code == 0 and "Traceback" not in output, output
    site.add_settings("DRAMATIQ_CRON_JOBS = []")  # so that the worker's own keeper enqueues nothing
    with site.running("prodserver", "worker") as process:
        eventually(Path(note).exists, within_s=20)
        code, output = stop(process)
    assert code == 0, output
    eventually(site.has_nothing_left, within_s=5)


def test_wait_that_is_in_vain_ends_with_code_3(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", {"worker": WORKER})
    code, output = site.run("prodserver", "worker", "--wait-for", "127.0.0.1:1", "--wait-timeout", "0.3")
    assert code == 3 and "127.0.0.1:1 did not answer within 0.3 s" in output
