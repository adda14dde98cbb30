"""The scripts, most of them with the functions that they share in front."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Script:
    """A script and the name by which a server that has seen it knows it."""

    text: str
    sha: str


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _named(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode()).hexdigest())


def _load(*names: str) -> Script:
    return _named("\n".join(map(_read, ("common", "messages", *names))))


ARRIVE = _named(_read("arrive"))
BURY = _load("bury")
BURY_NEW = _load("bury_new")
CANCEL = _load("cancel")
CLEAR = _load("clear")
ENQUEUE = _load("enqueue")
ENQUEUE_ONE = _named(_read("enqueue_one"))
EXCHANGE = _load("exchange_settle", "exchange_claim", "exchange")
FLUSH = _load("flush")
FLUSH_HELD = _load("flush_held")
GUARD = _load("guard")
LOOK = _load("look")
OPEN_SESSION = _load("open_session")
PEEK = _load("peek")
PROMOTE = _load("promote")
RELEASE = _load("release")
REMIND = _load("remind")
RENEW = _load("renew")
REVIVE = _load("revive")
STATS = _load("stats")
TAKE = _load("take")
