"""What the runner refuses, and the exit code that says so."""

from __future__ import annotations

#: Wrong usage or configuration, also a package that is not installed.
USAGE = 2
#: A database or broker that did not answer in time.
UNREACHABLE = 3


class ProdserverError(Exception):
    """A process that cannot be started. The message stands alone on the operator's terminal.

    Args:
        code: the exit code of the command.
    """

    def __init__(self, message: str, *, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code
