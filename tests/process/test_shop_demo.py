"""The demo runs from a clean state to its answer, with real workers, and stops when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "shop" / "demo.py"
NOTE = """# Harbour

## Lighthouse

The lighthouse keeper lights the lamp at dusk.

## Ferry

The ferry to the island leaves every morning at nine.
"""

pytestmark = pytest.mark.process


def start(state: Path, *arguments: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "SHOP_"))}
    return subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
        env={**clean, "SHOP_STATE_DIR": str(state), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def row(output: str, task: str) -> list[str]:
    """Queue, ran, completed, retried and dead of one task in the table."""
    [line] = [line for line in output.splitlines() if line.startswith(f"{task} ")]
    return line.split()[1:6]


def running_in(state: Path) -> list[int]:
    """Processes whose environment names this state directory."""
    wanted = f"SHOP_STATE_DIR={state}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


def test_all_work_runs_and_the_question_is_answered_from_the_documents(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "harbour.md").write_text(NOTE)
    state = tmp_path / "state"

    demo = start(state, "--docs", str(tmp_path / "docs"), "--question", "When does the ferry leave?")
    output, _ = demo.communicate(timeout=90)

    assert demo.returncode == 0, output
    assert row(output, "process_order") == ["processing", "20", "20", "0", "0"]
    assert row(output, "send_order_confirmation") == ["email", "20", "20", "0", "0"]
    assert row(output, "import_supplier_prices") == ["processing", "3", "1", "2", "0"]
    assert row(output, "charge_order") == ["processing", "21", "19", "1", "1"]
    assert "Dead letters: 1" in output and "the card ending in 4241 is not valid" in output
    assert "  36 mails in" in output and "  3 exports in" in output
    assert re.search(r"result of a pipeline: 8 products, \d+ pieces, worth \d+\.\d\d", output)
    assert "1. Harbour › Ferry\n     The ferry to the island leaves every morning at nine." in output
    assert running_in(state) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_demo_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    state = tmp_path / "state"
    demo = start(state)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("Each queue"):
            break
    demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, output
    assert output.endswith("Stopped; no worker is left running.\n") and "Traceback" not in output
    assert running_in(state) == []


def test_unusable_broker_is_named_in_one_line_without_its_password(tmp_path: Path) -> None:
    demo = start(tmp_path / "state", "--broker", "gopher://ann:opensesame@broker.example/0")
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 1
    assert output.startswith("demo: ") and "gopher" in output
    assert "Traceback" not in output and "opensesame" not in output


def test_worker_command_that_dies_shows_the_end_of_its_log(tmp_path: Path) -> None:
    state = tmp_path / "state"
    demo = start(state, "--threads", "1000000")  # more than the command accepts
    started = time.monotonic()
    output, _ = demo.communicate(timeout=60)

    assert demo.returncode == 1, output
    assert "the worker command ended with code" in output and "threads" in output
    assert time.monotonic() - started < 30
