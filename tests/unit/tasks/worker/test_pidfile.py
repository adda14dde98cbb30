"""A pid file is taken only from the dead, and nothing else is ever overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.worker.pidfile import pidfile


def refused(path: Path, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says), pidfile(str(path)):
        raise AssertionError("it was taken")


def test_it_holds_the_pid_while_the_block_runs_and_goes_even_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pytest.raises(KeyError), pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 & ~0o640 == 0
        raise KeyError
    assert not path.exists()


def test_no_path_means_no_file() -> None:
    with pidfile(None):
        """Nothing to see."""


def test_a_live_holder_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(str(os.getppid()))
    refused(path, f"belongs to process {os.getppid()}, which is running")
    assert path.read_text() == str(os.getppid())


@pytest.mark.parametrize("left_over", ["", "\n", "dead"])
def test_the_file_of_a_dead_process_is_taken_over(tmp_path: Path, left_over: str) -> None:
    path = tmp_path / "pid"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(left_over.replace("dead", str(gone.pid)))
    with pidfile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["precious", "12 34", "-1", "0", "²", "9" * 30, "SECRET_KEY=1"])
def test_a_file_with_other_content_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    refused(path, "is not a pid file")
    assert path.read_text() == content


def test_binary_content_and_directories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pid").write_bytes(b"\xff\xfe")
    refused(tmp_path / "pid", "cannot be read")
    refused(tmp_path, "Is a directory")


@pytest.mark.parametrize("content", ["", "precious"])
def test_a_link_is_never_followed_to_write(tmp_path: Path, content: str) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text(content)
    link.symlink_to(target)
    refused(link, "cannot be written|is not a pid file")
    assert target.read_text() == content
    link.unlink()
    link.symlink_to(tmp_path / "absent")
    refused(link, "cannot be written")
    assert not (tmp_path / "absent").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "absent" / "pid", "pid file .*absent/pid cannot be written: No such file")
