"""Workers by fork for servers that would start each as a fresh interpreter: Django is loaded here already."""

from __future__ import annotations

import signal
import sys
from multiprocessing.context import ForkContext, ForkProcess
from types import ModuleType

#: What a parent handles; a fork would inherit its handlers, and a worker would swallow the word to stop.
HANDLED = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTIN, signal.SIGTTOU})


class Forked(ForkProcess):
    """A process made by a fork. Signals wait until it has forgotten its parent's handlers."""

    def start(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        super().run()


class Forking(ForkContext):
    """A multiprocessing context whose processes are `Forked`."""

    Process = Forked


def fork_instead_of_spawn(module: ModuleType, name: str = "spawn") -> None:
    """Let a server's module make its workers by fork.

    Parameters:
        module: where the server keeps its multiprocessing context.
        name: under which name; a release without it starts its workers in its own way, only later.
    """
    if sys.platform == "linux" and hasattr(module, name):
        setattr(module, name, Forking())
