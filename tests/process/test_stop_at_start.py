"""A supervisor that says it is ready is ready to be stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = Path(__file__).parents[2] / "examples" / "shop"

pytestmark = pytest.mark.process


def test_a_stop_right_after_the_ready_line_is_graceful(tmp_path: Path) -> None:
    env = {n: v for n, v in os.environ.items() if not n.startswith(("DJANGO_", "SHOP_"))}
    env["SHOP_STATE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=SHOP, env=env, check=True)
    for _ in range(3):
        workers = subprocess.Popen(
            [sys.executable, "manage.py", "rundramatiq", "-p", "4"],
            cwd=SHOP,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert workers.stdout is not None
        assert "supervisor pid" in workers.stdout.readline()
        workers.send_signal(signal.SIGTERM)
        assert workers.wait(20) == 0
        workers.stdout.close()
