"""A reader who follows a page: writes its files, types its commands, starts its workers, pastes its Python."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.docs.markdown import Block, commands
from tests.docs.treatments import exempt, validate

READY = "supervisor pid"
COMMAND_WITHIN_S, READY_WITHIN_S, STOPPED_WITHIN_S = 60.0, 20.0, 40.0
WORKERS = re.compile(r"(\w+=\S+ )*python manage\.py rundramatiq\b")


def environment(**more: str) -> dict[str, str]:
    """What a newcomer's shell has: the interpreter of the virtual environment, and no setting of this test run."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("DJANGO_", "PYTEST_", "COV_", "PYTHONPATH"))}
    bin_dir = Path(sys.executable).parent
    return {**kept, "PATH": f"{bin_dir}:{os.environ['PATH']}", "VIRTUAL_ENV": str(bin_dir.parent), **more}


class Reader:
    """Follows one page in one directory; use as `with Reader(...) as reader`."""

    def __init__(self, directory: Path, repository: Path) -> None:
        self.cwd = directory
        self.env = environment()
        self.repository = repository
        self.last_output = ""
        self._log = directory / "reader-workers.log"
        self._shell: subprocess.Popen[str] | None = None
        self._workers: subprocess.Popen[bytes] | None = None
        self._workers_command = ""
        self._is_stale = False

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_shell()
        if self._workers is not None and self._workers.poll() is None:
            os.killpg(self._workers.pid, signal.SIGKILL)  # it leads its group; a calm end came before, in `finish`
            self._workers.wait()

    def follow(self, block: Block) -> None:
        """Do what one block asks for.

        Raises:
            AssertionError: it fails, or nobody said how to treat such a block.
        """
        if block.title is not None:
            self._write(block)
        elif block.language == "python":
            self._paste(block)
        elif block.language == "bash":
            for command in commands(block.text):
                self._type(command, block)
        elif block.language == "text":
            if "output" in block.flags:
                compare(block, self.last_output)
        else:
            validate(block)

    def finish(self) -> None:
        """Stop what the page started, as the reader does with Ctrl-C."""
        self._close_shell()
        self._stop_workers()

    # -- files -----------------------------------------------------------------------------------------

    def _write(self, block: Block) -> None:
        assert block.title is not None
        file = self.cwd / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() if "append" in block.flags else ""
        file.write_text(f"{before}\n{block.text}" if before else block.text)
        self._close_shell()  # a reader's open shell knows the old files too
        self._is_stale = self._workers is not None

    # -- Python ----------------------------------------------------------------------------------------

    def _paste(self, block: Block) -> None:
        self._refresh_workers()
        shell = self._shell or self._open_shell()
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(json.dumps([block.text, str(block.page), block.line]) + "\n")
        shell.stdin.flush()
        answer = shell.stdout.readline()
        assert answer, f"{block.place}: the shell ended"
        said = json.loads(answer)
        assert not said["error"], f"{block.place}\n{said['error']}\n{self._workers_said()}"
        self.last_output = said["output"]

    def _open_shell(self) -> subprocess.Popen[str]:
        self._shell = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("shell.py"))],
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._shell

    def _close_shell(self) -> None:
        if self._shell is not None:
            self._shell.communicate()
            self._shell = None

    # -- commands --------------------------------------------------------------------------------------

    def _type(self, command: str, block: Block) -> None:
        if exempt(command, block, self.repository):
            return
        name, _, rest = command.partition(" ")
        if name == "cd":
            self.cwd = self.cwd / self._expanded(rest)
        elif name == "export":
            variable, _, value = rest.partition("=")
            self.env[variable] = self._expanded(value)
        elif command == "python manage.py shell":
            self._close_shell()
        elif WORKERS.match(command) and not expected_code(block):
            self._start_workers(command)
        else:
            self._refresh_workers()
            self._run(command, block)

    def _expanded(self, text: str) -> str:
        return self._in_shell(f"echo {text}").stdout.strip()

    def _in_shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_WITHIN_S,
        )

    def _run(self, command: str, block: Block) -> None:
        done = self._in_shell(command)
        wanted = expected_code(block)
        said = f"{block.place}: {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == wanted, f"{said}\nended with {done.returncode}, not {wanted}\n{self._workers_said()}"
        self.last_output = done.stdout if wanted == 0 else done.stderr

    # -- workers ---------------------------------------------------------------------------------------

    def _start_workers(self, command: str) -> None:
        self._stop_workers()
        words = shlex.split(command)
        variables = dict(word.split("=", 1) for word in words[: words.index("python")])
        self._workers_command = command
        with self._log.open("wb") as log:
            self._workers = subprocess.Popen(
                words[words.index("python") :],
                cwd=self.cwd,
                env={**self.env, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while READY not in (said := self._workers_said()):
            assert self._workers.poll() is None, f"{command} ended\n{said}"
            assert time.monotonic() < deadline, f"{command} is not ready\n{said}"
            time.sleep(0.02)
        self.last_output = said

    def _refresh_workers(self) -> None:
        if self._is_stale:
            self._start_workers(self._workers_command)

    def _stop_workers(self) -> None:
        self._is_stale = False
        workers = self._workers
        if workers is None:
            return
        workers.send_signal(signal.SIGTERM)
        code = workers.wait(STOPPED_WITHIN_S)
        self._workers = None
        assert code == 0, f"{self._workers_command} ended with {code}\n{self._workers_said()}"

    def _workers_said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""


def expected_code(block: Block) -> int:
    """The exit code that a page expects of its commands, from `exit=2`; else 0."""
    return next((int(flag.removeprefix("exit=")) for flag in block.flags if flag.startswith("exit=")), 0)


def compare(block: Block, output: str) -> None:
    """The shown output is what came; `…` stands for anything, alone on a line for any lines."""
    shown = [re.escape(line.rstrip()).replace("…", ".*") for line in block.text.strip().splitlines()]
    lines = [r"(?:.*\n)*?" if line == ".*" else line + r"\n" for line in shown]
    came = "".join(line.rstrip() + "\n" for line in output.strip().splitlines())
    assert re.fullmatch("".join(lines), came), f"{block.place}: shown\n{block.text}\nbut came\n{came}"
