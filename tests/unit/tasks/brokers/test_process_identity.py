"""A process is known by pid and start time, so a reused pid is another process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from django_cfg.tasks.brokers.process import identity, is_alive, is_gone
from django_cfg.testing.waiting import eventually


def test_this_process_lives() -> None:
    assert identity() == identity()
    assert is_alive(identity())
    assert not is_gone(identity(), identity())


def test_a_reused_pid_is_another_process() -> None:
    earlier = replace(identity(), process_started="1")
    assert not is_alive(earlier)
    assert is_gone(earlier, identity())


def test_nobody_is_known_to_be_gone_on_another_host() -> None:
    elsewhere = replace(identity(), host_id="elsewhere", process_started="1")
    assert not is_gone(elsewhere, identity())


def test_a_zombie_is_dead_although_its_pid_is_taken() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = replace(identity(), pid=child.pid, process_started=_started(child.pid))
    assert is_alive(seen)
    child.kill()
    eventually(lambda: not is_alive(seen))
    os.kill(child.pid, 0)  # it is still there: nobody has waited for it
    child.communicate()


def test_without_a_start_time_the_pid_decides() -> None:
    assert is_alive(replace(identity(), process_started=""))
    assert is_alive(replace(identity(), process_started="", pid=1))
    assert not is_alive(replace(identity(), process_started="", pid=2**22 + 1))


def _started(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[19]
