"""The scripts, each with the functions that all of them share in front."""

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


def _load(*names: str) -> Script:
    text = "\n".join(map(_read, ("common", "messages", *names)))
    return Script(text, hashlib.sha1(text.encode()).hexdigest())


BURY = _load("bury")
CANCEL = _load("cancel")
CLEAR = _load("clear")
ENQUEUE = _load("enqueue")
EXCHANGE = _load("exchange_settle", "exchange_claim", "exchange")
FLUSH = _load("flush")
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
