"""One name for one fault: the type of an error and the way through the code, whatever its text and line numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import TracebackType

MOST_FRAMES = 12


def frames_of(trace: TracebackType | None) -> list[str]:
    """`module:function` from the outermost frame to the innermost; repeated ones of a recursion once."""
    found: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", code.co_filename)
        frame = f"{module}:{getattr(code, 'co_qualname', code.co_name)}"
        if frame not in found[-2:]:
            found.append(frame)
        trace = trace.tb_next
    return found


def fingerprint(error_type: str, frames: Iterable[str]) -> str:
    """16 hexadecimal digits that are the same on every host and for every text of the error."""
    text = "\n".join([error_type, *list(frames)[-MOST_FRAMES:]])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
