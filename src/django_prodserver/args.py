"""ARGS of a process become the argv of its server: nothing guessed, nothing dropped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from django_prodserver.errors import ProdserverError
from django_prodserver.options import Many, Option, Options, Takes, UnknownOption

Scalar = str | int | float | bool | None
Value = Scalar | Sequence[Scalar]

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


def translate(values: Mapping[str, Value], options: Options | None) -> list[str]:
    """The argv for a dictionary of options; `options` None: a server that cannot be asked.

    Raises:
        ProdserverError: with a line for every option that the server would not understand.
    """
    argv, problems = [], []
    for name, value in values.items():
        try:
            option = options.find(name) if options is not None else _unasked(name, value)
            argv += _written(option, value)
        except ValueError as problem:
            problems.append(f"{name}: {problem}" if not isinstance(problem, UnknownOption) else str(problem))
    if problems:
        raise ProdserverError("\n".join(f"ARGS: {line}" for line in problems))
    return argv


def _unasked(name: str, value: Value) -> Option:
    takes = Takes.NOTHING if value is None or isinstance(value, bool) else Takes.VALUE
    return Option("--" + name.lstrip("-").replace("_", "-"), name, takes, Many.REPEATED)


def _written(option: Option, value: Value) -> list[str]:
    if not isinstance(value, str) and isinstance(value, Sequence):
        return _list(option, [_text(option, item) for item in value])
    if option.takes is Takes.NOTHING:
        return _flag(option, value)
    if option.takes is Takes.OPTIONAL and (value is None or isinstance(value, bool)):
        return [] if value is False else [option.flag]
    return [f"{option.flag}={_text(option, value)}"]


def _flag(option: Option, value: Scalar) -> list[str]:
    if value is None or _as_bool(value):
        return [option.flag]
    # A flag that is off is a flag that is not given, unless the server has a spelling for it.
    return [option.off] if option.off else []


def _as_bool(value: Scalar) -> bool:
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        raise ValueError(f"is a flag; expected true or false, got {value!r}")
    return word in _YES


def _text(option: Option, value: Scalar) -> str:
    if option.takes is Takes.BOOLEAN:
        return "true" if _as_bool(value) else "false"
    if value is None or isinstance(value, bool):
        raise ValueError(f"expected a value, got {value!r}; leave it out for the server's default")
    return str(value)


def _list(option: Option, texts: list[str]) -> list[str]:
    if not texts:
        return []
    if option.takes is Takes.NOTHING or (option.many is Many.REFUSED and len(texts) > 1):
        raise ValueError(f"takes one value, got a list of {len(texts)}")
    if option.many is Many.SPREAD:
        return [option.flag, *texts]
    if option.many is Many.JOINED:
        return [f"{option.flag}={','.join(texts)}"]
    return [f"{option.flag}={text}" for text in texts]


def scan(argv: Sequence[str], options: Options) -> Iterator[tuple[Option, str | None]]:
    """Which options a written argv gives, and their values. Positions are passed over.

    Raises:
        UnknownOption: the server has no such option.
        ValueError: the value of an option is missing.
    """
    items = iter(argv)
    for item in items:
        if not item.startswith("-") or item in ("-", "--"):
            continue
        name, value = _split(item)
        option = options.find(name)
        if value is None and option.takes in (Takes.VALUE, Takes.BOOLEAN):
            value = next(items, None)
            if value is None:
                raise ValueError(f"{name}: expected a value, got nothing")
        yield option, value


def _split(item: str) -> tuple[str, str | None]:
    if not item.startswith("--"):
        return item[:2], item[2:].removeprefix("=") or None
    name, equals, value = item.partition("=")
    return name, value if equals else None


def given(argv: Sequence[str], options: Options) -> dict[str, list[str]]:
    """The values of an argv by what they set; a flag has the value "true"."""
    found: dict[str, list[str]] = {}
    for option, value in scan(argv, options):
        found.setdefault(option.dest, []).append("true" if value is None else value)
    return found


def overridden(values: Mapping[str, Value], overrides: Iterable[str], options: Options) -> dict[str, Value]:
    """What is left of ARGS when the command line says some of it anew."""
    anew = {option.dest for option, _ in scan(list(overrides), options)}
    return {name: value for name, value in values.items() if not _is_anew(name, anew, options)}


def _is_anew(name: str, anew: set[str], options: Options) -> bool:
    try:
        return options.find(name).dest in anew
    except UnknownOption:
        return False  # `translate` reports it together with the others
