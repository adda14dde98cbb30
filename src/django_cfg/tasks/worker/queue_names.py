"""Which queues a worker serves: from what was written on the command line, configured, and declared. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from django_cfg.errors import ConfigurationError

DEFAULT = "default"


def split(words: Iterable[str]) -> list[str]:
    """Queue names from `a,b`, from `a b` and from repeated options, each once, in order.

    Raises:
        ConfigurationError: words without a name; an unset variable must not mean "every queue".
    """
    given = list(words)
    names = [name.strip() for word in given for name in word.split(",") if name.strip()]
    if given and not names:
        raise ConfigurationError(f"--queues names no queue, got {' '.join(given)!r}; leave it out to serve all")
    return list(dict.fromkeys(names))


def to_serve(asked: Sequence[str], configured: Sequence[str] | None, declared: Iterable[str]) -> list[str]:
    """The queues of a worker.

    Asked for: exactly those, if each is known (configured, or named by a task). Not asked: the configured
    ones; without a configuration `default` and every queue that a task names.

    Raises:
        ConfigurationError: an unknown queue, with the known ones and the nearest name.
    """
    known = set(declared) | set(configured or [DEFAULT])
    if not asked:
        return list(configured) if configured is not None else sorted(known | {DEFAULT})
    for name in asked:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(f"no queue is named {name!r}; known: {', '.join(sorted(known))}.{hint}")
    return list(asked)
