"""Arguments and texts without their secrets: what may be stored, logged and shown. Pure.

Hiding errs on the safe side: a harmless value under the name `keyboard` is hidden too.
"""

from __future__ import annotations

import inspect
import logging
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from django_cfg.redact import HIDDEN, is_secret_name

logger = logging.getLogger(__name__)
T = TypeVar("T")
Redact = Callable[[dict[str, Any]], Mapping[str, Any]]

LONGEST_TEXT = 500
MOST_ITEMS = 50
DEEPEST = 8
#: Shorter ones would blot out half of every text in which they happen to occur.
SHORTEST_SECRET = 4


class _SecretMark:
    def __repr__(self) -> str:
        return "Secret"


#: Marks a parameter of a task whose value is never recorded: `def charge(card: Secret[str]) -> None`.
Secret = Annotated[T, _SecretMark()]

_NAME = re.compile(r"passw|token|secret|key|authorization|cookie", re.IGNORECASE)
_ANNOTATION = re.compile(r"\bSecret\b")
#: Begins where a word begins and is bounded: an error may quote megabytes, and tries from each letter take hours.
_URL_PASSWORD = re.compile(r"((?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]*://[^\s/@:'\"]{0,200}):[^\s'\"]{0,500}@")
#: A cookie goes on behind a semicolon, and a quoted text behind a quote with a backslash.
_ASSIGNED = re.compile(
    r"((?:passw(?:or)?d|passphrase|pwd|token|secret|api[_-]?key|access[_-]?key|private[_-]?key|authorization|(cookie))"
    r"['\"]?\s*[=:]\s*)(?:(?:Bearer|Basic|Token)\s+)?"
    r"(?:'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|(?(2)(?:[^\s,)}\]'\"]+(?:(?<=;) )?)+|[^\s,;)}\]'\"]+))",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def hides(name: str) -> bool:
    """Whether what is called this is hidden."""
    return _NAME.search(name) is not None or is_secret_name(name)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a task calls its arguments, and which of them it marks as `Secret`.

    Attributes:
        keywords: names that stand for one parameter each.
        rest, others: the parameters with one and with two stars; "" if there is none.
    """

    names: tuple[str, ...] = ()
    secret: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    rest: str = ""
    others: str = ""

    def name_of(self, position: int) -> str:
        return self.names[position] if position < len(self.names) else f"argument {position + 1}"

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
        """Each argument: the name it is shown under, the one that decides whether it is hidden, and its value."""
        for position, value in enumerate(args):
            name = self.name_of(position)
            yield name, name if position < len(self.names) else self.rest or name, value
        for name, value in kwargs.items():
            is_other = bool(self.others) and name not in self.keywords
            yield name, self.others if is_other and (self.others in self.secret or not hides(name)) else name, value


def signature_of_task(actor: Any) -> Signature:
    """The signature of a declared task, without what no message brings; an empty one if it is declared nowhere."""
    return signature_of(actor.fn, getattr(actor, "arguments_of_its_own", 0)) if actor is not None else Signature()


@lru_cache(maxsize=4096)
def signature_of(function: Callable[..., Any] | None, skipped: int = 0) -> Signature:
    """The signature of a task's function; an empty one where Python cannot tell.

    Parameters:
        skipped: how many of its first parameters the engine fills in itself.
    """
    if function is None:
        return Signature()
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return Signature()
    one = inspect.Parameter
    by_position = _of_kind(parameters, one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    return Signature(
        names=by_position[skipped:],
        secret=frozenset(_marked(function)),
        keywords=frozenset(_of_kind(parameters, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)),
        rest="".join(_of_kind(parameters, one.VAR_POSITIONAL)),
        others="".join(_of_kind(parameters, one.VAR_KEYWORD)),
    )


def _of_kind(parameters: Iterable[inspect.Parameter], *kinds: Any) -> tuple[str, ...]:
    return tuple(parameter.name for parameter in parameters if parameter.kind in kinds)


def _marked(function: Callable[..., Any]) -> Iterator[str]:
    inner = inspect.unwrap(function)
    for name, written in getattr(inner, "__annotations__", {}).items():
        if isinstance(written, str):
            is_secret = _ANNOTATION.search(written) is not None
        else:
            is_secret = any(isinstance(mark, _SecretMark) for mark in _marks(written))
        if is_secret:
            yield name


def _marks(written: Any) -> Iterator[Any]:
    yield from getattr(written, "__metadata__", ())
    for part in typing.get_args(written):
        yield from _marks(part)


def shown_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], signature: Signature, redact: Redact | None = None
) -> dict[str, Any]:
    """Arguments by name, without secrets and bounded, as they may be stored.

    Parameters:
        redact: the task's own hook; gets the dictionary made here and returns the one to keep. One that fails
            hides everything.
    """
    named = signature.named(args, kwargs)
    shown = {name: HIDDEN if rule in signature.secret else _shown(rule, value, 0) for name, rule, value in named}
    if redact is None:
        return shown
    try:
        return dict(redact(shown))
    except Exception:
        logger.exception("A task's redact hook failed; its arguments are hidden.")
        return dict.fromkeys(shown, HIDDEN)


def shown_value(name: str, value: Any) -> Any:
    """One value without secrets and bounded."""
    return _shown(name, value, 0)


def _shown(name: str, value: Any, depth: int) -> Any:
    if value is None or value is True or value is False:
        return value
    if hides(name) and value != "":
        return HIDDEN
    if isinstance(value, str):
        return _shown_text(value)
    if isinstance(value, int):
        return int.__int__(value)  # one of a class of its own, too
    if isinstance(value, dict | list | tuple):
        return _shown_container(name, value, depth)
    return value


def _shown_text(value: str) -> str:
    # A text of a class of its own (`SafeString`) becomes a plain one.
    text = str.__str__(value) if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}…"
    if "://" in text or "=" in text or ":" in text:
        return scrubbed(text)
    return text


def _shown_container(name: str, value: Any, depth: int) -> Any:
    if depth >= DEEPEST:
        return "…"
    if isinstance(value, dict):
        shown: Any = {str(k): _shown(str(k), v, depth + 1) for k, v in list(value.items())[:MOST_ITEMS]}
        return shown if len(value) <= MOST_ITEMS else shown | {"…": f"{len(value) - MOST_ITEMS} more"}
    items = [_shown(name, item, depth + 1) for item in value[:MOST_ITEMS]]
    return items if len(value) <= MOST_ITEMS else [*items, f"… {len(value) - MOST_ITEMS} more"]


def secrets_in(args: Sequence[Any], kwargs: Mapping[str, Any], signature: Signature) -> frozenset[str]:
    """The hidden values among some arguments, as they would look in a text."""
    found: set[str] = set()
    for _, rule, value in signature.named(args, kwargs):
        _collect(value, found, is_hidden=rule in signature.secret or hides(rule))
    return frozenset(found)


def _collect(value: Any, found: set[str], *, is_hidden: bool) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _collect(item, found, is_hidden=is_hidden or hides(str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, found, is_hidden=is_hidden)
    elif is_hidden and value is not None and not isinstance(value, bool):
        text = str(value)
        if len(text) >= SHORTEST_SECRET:
            found.update({text, repr(text)[1:-1]})


def without(value: Any, secrets: frozenset[str]) -> Any:
    """A value as `shown_value` makes it, with none of these in it."""
    if isinstance(value, dict):
        return {without(key, secrets): without(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without(item, secrets) for item in value]
    if isinstance(value, str):
        return _replaced(value, secrets)
    return HIDDEN if str(value) in secrets else value


def _replaced(text: str, secrets: frozenset[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def scrubbed(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """A text without these values, without passwords of URLs and without what is assigned to a secret name."""
    text = _replaced(text, secrets)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    return _ASSIGNED.sub(rf"\1{HIDDEN}", text)
