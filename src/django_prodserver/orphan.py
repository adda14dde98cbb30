"""Ties a process to the manager that started it: when the manager is gone, it is told to stop."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from django_prodserver.launch import PARENT_VARIABLE

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask Linux for a SIGTERM at the parent's death, when a manager is the parent. Elsewhere nothing is asked."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)  # it died before we asked
