"""What every thread does right now, for the log."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Mapping


def stacks(tasks: Mapping[int, str]) -> str:
    """The stack of each thread of this process, innermost frame last.

    Parameters:
        tasks: what a thread runs, by the thread's number.
    """
    frames = sys._current_frames()
    parts = []
    for thread in threading.enumerate():
        if thread.ident in frames:
            task = tasks.get(thread.ident)
            runs = f" runs {task}" if task else ""
            parts.append(f"Thread {thread.name}{runs}\n{''.join(traceback.format_stack(frames[thread.ident]))}")
    return "\n".join(parts)
