"""The parent of worker processes: forks them, replaces the dead, ends the hung, passes on the word to stop.

Single-threaded, and without any connection: so it can fork again at any time.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from django.db import connections
from dramatiq.logging import get_logger

from django_cfg.tasks.worker.ledger import At, Bank, Ledgers
from django_cfg.tasks.worker.recycling import Recycling
from django_cfg.tasks.worker.reload import Adopted, Handover, Trial, hand_over
from django_cfg.tasks.worker.spawn import extra_threads, spawn

logger = get_logger(__name__)

#: Time above the workers' own shutdown timeout before they are killed, in seconds.
GRACE_S = 8.0
#: What the helpers get more: the keeper settles for killed workers.
HELPERS_GRACE_S = 4.0
SHORT_LIFE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
LONGEST_NAP_S = 0.5
#: While processes are replaced one after the other: no signal tells that one serves, or has done enough.
SHORT_NAP_S = 0.05
#: Stands for the exit code of a trial that had to be given up.
TOO_LONG = -1
PR_SET_NAME = 15
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RELOAD, SHOW = signal.SIGHUP, signal.SIGTTIN
#: Tells a worker to end when what it runs has ended, however long that takes.
DRAIN = signal.SIGUSR1
#: Held back until a new process has its own handlers.
HELD_SIGNALS = (*STOP_SIGNALS, RELOAD, SHOW, DRAIN)

#: A name for the log, and what the process runs. It gets the read end of the leash, and the stop signals are
#: blocked until it has its own handlers and lets them in.
Main = tuple[str, Callable[[int], None]]
#: As `Main`, for a process that runs tasks: it also gets its bank of the ledger.
WorkerMain = tuple[str, Callable[[Bank, int], None]]


@dataclass
class Child:
    """One process slot, or a process that drains while its slot has a new one."""

    name: str
    main: Callable[[int], None] | None = None
    worker_main: Callable[[Bank, int], None] | None = None
    bank: Bank | None = None
    pid: int = 0
    started: float = 0.0
    pause_s: float = 0.0
    not_before: float = 0.0
    is_old: bool = False

    @property
    def is_worker(self) -> bool:
        return self.worker_main is not None


class Supervisor:
    """Keeps processes running until a signal ends it.

    Parameters:
        workers: the processes that run tasks.
        helpers: the processes beside them; they end last.
        ledgers: the memory of the workers; made before, because helpers read it too.
        shutdown_timeout_ms: how long workers may take to finish what runs.
        recycling: when a worker has done enough.
        handover: what an earlier program of this process left; its workers drain one after the other.
    """

    def __init__(
        self,
        workers: Sequence[WorkerMain],
        helpers: Sequence[Main],
        ledgers: Ledgers,
        shutdown_timeout_ms: int,
        recycling: Recycling | None = None,
        handover: Handover | None = None,
    ) -> None:
        self._helpers = [Child(name, main) for name, main in helpers]
        self._workers = [Child(name, worker_main=main) for name, main in workers]
        self._draining: list[Child] = []
        self._ledgers = ledgers
        self._recycling = recycling or Recycling()
        self._kill_after_s = shutdown_timeout_ms / 1000 + GRACE_S
        self._stopping_since: float | None = None
        self._killed = False
        self._is_announced = False
        self._leash_read, self._leash_write = handover.leash if handover else os.pipe()
        self._must_reload = self._must_show = False
        self._trial: Trial | None = None
        self._is_leaving = self._must_spawn = False
        for adopted in handover.children if handover else ():
            self._adopt(adopted)
        self._wake, self._ring = os.pipe()

    def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Supervise. Returns 0 after a graceful end, 1 if a worker had to be killed.

        Parameters:
            on_ready: called once, when every process runs and signals stop them gracefully.
        """
        self._prepare()
        self._start_missing()
        on_ready()
        while self._stopping_since is None or any(child.pid for child in self._children()):
            self._start_missing()
            self._nap()
            self._announce_stop()
            self._reap()
            self._show()
            self._kill_hung()
            self._recycle()
            self._reload()
            self._kill_overdue()
        return int(self._killed)

    def _children(self) -> Iterator[Child]:
        yield from self._runners()
        yield from self._helpers

    def _runners(self) -> Iterator[Child]:
        """Everything that runs tasks."""
        yield from self._workers
        yield from self._draining

    # -- set-up ----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        _close_connections()
        self._must_spawn = bool(extra := extra_threads())
        if extra:
            logger.warning(
                "The project starts threads when it is imported (%s), so its processes cannot be forked: each one "
                "loads the project anew, which takes longer and more memory. Start threads when a task needs them.",
                ", ".join(extra),
            )
        gc.collect()
        gc.freeze()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._ring, False)
        for number, handler in (
            *((number, self._on_stop) for number in STOP_SIGNALS),
            (RELOAD, self._on_reload),
            (SHOW, self._on_show),
        ):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, handler)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)  # an earlier program held them for us

    def _on_stop(self, number: int, _frame: object) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._tell(signal.SIGTERM)
        elif number == signal.SIGINT:
            self._kill_after_s = 0.0

    def _on_reload(self, _number: int, _frame: object) -> None:
        self._must_reload = True

    def _on_show(self, _number: int, _frame: object) -> None:
        self._must_show = True

    def _adopt(self, adopted: Adopted) -> None:
        """A process of an earlier program: in its slot until it drains, or draining if there is no such slot."""
        bank = self._ledgers.find(*adopted.bank) if adopted.bank else None
        slot = next((child for child in self._workers if child.name == adopted.name and not child.pid), None)
        if slot is not None and not adopted.is_draining:
            slot.pid, slot.bank, slot.started, slot.is_old = adopted.pid, bank, time.monotonic(), True
            return
        main = self._workers[0].worker_main
        self._draining.append(Child(adopted.name, worker_main=main, bank=bank, pid=adopted.pid))
        _kill(adopted.pid, DRAIN)

    # -- the loop --------------------------------------------------------------------------------------

    def _start_missing(self) -> None:
        for child in [*self._workers, *self._helpers]:
            is_wanted = self._stopping_since is None and (child.is_worker or not self._is_leaving)
            if not child.pid and is_wanted and time.monotonic() >= child.not_before:
                self._start(child)
        self._restart_helpers_of_a_stop()

    def _restart_helpers_of_a_stop(self) -> None:
        """Also while workers stop, a keeper that died is replaced: it may have to settle for them."""
        if self._stopping_since is not None and any(child.pid for child in self._runners()):
            for child in self._helpers:
                if not child.pid and time.monotonic() >= child.not_before:
                    self._start(child)

    def _start(self, child: Child) -> None:
        flush()
        main = self._main_of(child)
        # A signal between the fork and the child's own handlers would run ours there: the child would not stop,
        # and its siblings would. So it waits until the child has its handlers (`child.run` lets it in).
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
        try:
            pid = spawn(child.name, self._leash_read, self._ledgers, child.bank) if self._must_spawn else os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
            self._put_off(child, error)
            return
        if pid == 0:
            self._become(child.name, main)
        child.pid, child.started, child.is_old = pid, time.monotonic(), False
        if child.bank is not None:
            child.bank.is_of(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        logger.info("Started %s (pid %d).", child.name, pid)
        if self._stopping_since is not None:
            os.kill(pid, signal.SIGTERM)  # the signal came between the decision and the fork

    def _put_off(self, child: Child, error: OSError) -> None:
        """There is no room for another process now; those that are there go on meanwhile."""
        if child.bank is not None:
            child.bank.free()
            child.bank = None
        self._pause(child)
        logger.error("%s cannot be started, trying again in %.1f s: %s", child.name, child.pause_s, error)

    def _pause(self, child: Child) -> None:
        """Longer each time, before the next process of this name."""
        child.pause_s = min(max(child.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        child.not_before = time.monotonic() + child.pause_s

    def _main_of(self, child: Child) -> Callable[[], None]:
        if child.worker_main is None:
            assert child.main is not None
            main = child.main
            return lambda: main(self._leash_read)
        worker_main = child.worker_main
        bank, is_forgotten = self._ledgers.take()
        if is_forgotten:
            logger.warning("No keeper settled for a dead worker; what it held counts as delivered.")
        child.bank = bank
        return lambda: worker_main(bank, self._leash_read)

    def _become(self, name: str, main: Callable[[], None]) -> None:
        """The forked side; never returns."""
        code = 1
        try:
            name_process(name)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._leash_write, self._wake, self._ring):
                os.close(end)
            main()
            code = 0
        except BaseException:  # noqa: BLE001 - the outermost frame of a process
            traceback.print_exc()
        finally:
            flush()
            os._exit(code)

    def _announce_stop(self) -> None:
        """Here and not in the signal handler, which may have interrupted another log call."""
        if self._stopping_since is not None and not self._is_announced:
            self._is_announced = True
            logger.info("Stopping: running tasks may end, the rest goes back. A second Ctrl-C stops at once.")

    def _nap(self) -> None:
        is_replacing = self._recycling.is_on or any(child.is_old for child in self._workers)
        readable, _, _ = select.select([self._wake], [], [], SHORT_NAP_S if is_replacing else LONGEST_NAP_S)
        if readable:
            os.read(self._wake, 4096)

    # -- ends --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for child in list(self._children()):
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        pid, child.pid = child.pid, 0
        if child.bank is not None:
            child.bank.died(code)
            child.bank = None
        if child in self._draining:
            self._draining.remove(child)
            logger.info("%s (pid %d) has ended.", child.name, pid)
        elif self._stopping_since is not None or (self._is_leaving and not child.is_worker):
            logger.info("%s (pid %d) has stopped.", child.name, pid)
        else:
            self._plan_successor(child, pid, code)

    def _plan_successor(self, child: Child, pid: int, code: int) -> None:
        if time.monotonic() - child.started < SHORT_LIFE_S:
            self._pause(child)
        else:
            child.pause_s = child.not_before = 0.0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        logger.error("%s (pid %d) %s; replacing it in %.1f s.", child.name, pid, how, child.pause_s)

    def _kill_hung(self) -> None:
        """A task past its hard limit takes its process with it; nothing else could end it."""
        now = time.monotonic()
        for child in self._runners():
            bank = child.bank
            if child.pid and bank is not None and (slots := bank.overdue(now)):
                for slot in slots:
                    self._note_timeout(child, bank, slot)
                _kill(child.pid, signal.SIGKILL)

    def _note_timeout(self, child: Child, bank: Bank, slot: int) -> None:
        if bank.states[slot] == At.STARTED:
            bank.states[slot] = At.TIMED_OUT
        bank.deadlines[slot] = 0.0
        entry = bank.entry(slot)
        logger.error(
            "Task %s %s is past its hard time limit; killing its process (%s, pid %d).",
            entry.task,
            entry.message_id,
            child.name,
            child.pid,
        )

    def _recycle(self) -> None:
        """Replace one process that has done enough; the next one when that one has ended."""
        if self._stopping_since is not None or self._draining:
            return
        if any(not child.is_old and (child.bank is None or not child.bank.session) for child in self._workers):
            return  # the newest does not serve yet
        for child in self._workers:
            if child.pid and (reason := self._reason(child)):
                logger.info("Replacing %s (pid %d): %s.", child.name, child.pid, reason)
                self._drain(child)
                return

    def _reason(self, child: Child) -> str:
        if child.is_old:
            return "it runs the code from before the reload"
        return self._recycling.reason(child.pid, child.bank) if child.bank is not None else ""

    def _drain(self, child: Child) -> None:
        """Let a process finish what it runs, and give its slot to a new one at once."""
        self._draining.append(replace(child))
        _kill(child.pid, DRAIN)
        child.pid, child.bank, child.not_before = 0, None, 0.0

    # -- new code ------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Step by step, so that supervising goes on: try the new code, end the helpers, become it."""
        if self._stopping_since is not None:
            self._give_up_trial()
        elif self._must_reload and self._trial is None and not self._is_leaving:
            self._must_reload = False
            self._try_new_code()
        elif self._trial is not None:
            self._judge_trial(self._trial)
        elif self._is_leaving and not any(child.pid for child in self._helpers):
            hand_over(self._handover(), HELD_SIGNALS)

    def _try_new_code(self) -> None:
        logger.info("Reloading: trying the new code.")
        try:
            self._trial = Trial()
        except OSError as error:
            logger.error("The new code cannot be tried; the old one goes on: %s", error)

    def _judge_trial(self, trial: Trial) -> None:
        code = TOO_LONG if trial.is_overdue and trial.poll() is None else trial.poll()
        if code is None:
            return
        self._give_up_trial()
        if code:
            logger.error("The new code does not load (code %d); the old one goes on.\n%s", code, trial.said)
            return
        self._is_leaving = True
        for child in self._helpers:
            if child.pid:
                _kill(child.pid, DRAIN)

    def _give_up_trial(self) -> None:
        if self._trial is not None:
            self._trial.kill()
            self._trial = None

    def _handover(self) -> Handover:
        living = [(child, False) for child in self._workers] + [(child, True) for child in self._draining]
        return Handover(
            leash=(self._leash_read, self._leash_write),
            files=tuple(self._ledgers.files),
            children=tuple(
                Adopted(child.name, child.pid, (child.bank.file, child.bank.index) if child.bank else None, is_draining)
                for child, is_draining in living
                if child.pid
            ),
        )

    # -- a look inside -------------------------------------------------------------------------------------

    def _show(self) -> None:
        """What runs, as the ledger has it, and from each process its stacks."""
        if not self._must_show:
            return
        self._must_show = False
        now = time.monotonic()
        for child in self._runners():
            if child.pid and child.bank is not None:
                runs = [f"{e.task} {e.message_id} for {now - e.span:.1f} s" for e in child.bank.running()]
                logger.info("%s (pid %d) runs: %s", child.name, child.pid, "; ".join(runs) or "nothing")
        for child in self._children():
            if child.pid:
                _kill(child.pid, SHOW)

    def _kill_overdue(self) -> None:
        since = self._stopping_since
        if since is None or time.monotonic() - since < self._kill_after_s:
            return
        left = [child for child in self._runners() if child.pid]
        self._killed = self._killed or bool(left)
        is_last_call = time.monotonic() - since >= self._kill_after_s + HELPERS_GRACE_S
        for child in self._children() if is_last_call else left:
            if child.pid:
                _kill(child.pid, signal.SIGKILL)

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children():
            if child.pid:
                _kill(child.pid, number)


def flush() -> None:
    """Write what is buffered, so that a copy of this process does not write it too; a full disk is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` show; the command line stays. Only Linux has such a name."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15])


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself and is not reaped yet


def _close_connections() -> None:
    """Nothing that is open may be forked; a pool of connections has threads, too."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()
