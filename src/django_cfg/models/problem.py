"""What is wrong with one written value: where it stands, what it is, where it came from, how to cure it.

Problems become pydantic's own `ValidationError`, all of a part at once, with every input hidden.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from django_cfg.errors import ConfigurationError
from django_cfg.redact import redact_value

Loc = tuple[int | str, ...]
CODE = "code"  # of a value whose part will say its own name
_TEMPLATE = "{what}{got} (from {source}){cure}"
_NAMELESS = "value"
_UNKNOWN = "extra_forbidden"
# These say all there is to say; showing the value too would repeat it.
_WITHOUT_VALUE = frozenset({_UNKNOWN, "missing"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct.

    Attributes:
        loc: path of the field from the part that reports it.
        what: the complaint, starting with the field's name.
        source: variable, file and line, or the class that was called in code.
        got: the value with its secrets hidden; None when the complaint shows it or there is none.
        cure: what to write instead; empty when `what` says it.
        kind: pydantic's error type, or `value_error`.
    """

    loc: Loc
    what: str
    source: str = CODE
    got: str | None = None
    cure: str = ""
    kind: str = "value_error"

    @property
    def text(self) -> str:
        got = f", got {self.got}" if self.got is not None else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{self.what}{got} (from {self.source}){cure}"

    def at(self, source: str) -> Self:
        return replace(self, source=source)

    def details(self) -> InitErrorDetails:
        context = {
            "what": self.what,
            "got": f", got {self.got}" if self.got is not None else "",
            "source": self.source,
            "cure": f"; {self.cure}" if self.cure else "",
            "problem": asdict(self),
        }
        # `input` is given too, because ValidationError.errors() returns it even when inputs are hidden.
        return InitErrorDetails(type=PydanticCustomError(self.kind, _TEMPLATE, context), loc=self.loc, input=self.got)


def suggest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, or None."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A cure for a wrong name: the closest known one, else all of them."""
    close = suggest(name, known)
    return f"did you mean {close!r}?" if close else f"known: {', '.join(sorted(known))}"


def failure(title: str, problems: Iterable[Problem]) -> ValidationError:
    """Pydantic's error with all the problems; raise it `from None`."""
    return ValidationError.from_exception_data(title, [p.details() for p in problems], hide_input=True)


def problems_of(error: ValidationError, source: str, known: Sequence[str], under: Loc = ()) -> list[Problem]:
    """Every line of pydantic's error as a problem; lines that a nested part wrote stay as they are.

    Args:
        source: where the values came from.
        known: names of the fields, for a suggestion when a key is unknown.
        under: where in the part the value stands that the error is about.
    """
    return [_problem(line, source, known, (*under, *line["loc"])) for line in error.errors(include_url=False)]


def _problem(line: ErrorDetails, source: str, known: Sequence[str], loc: Loc) -> Problem:
    context = line.get("ctx", {})
    if isinstance(own := context.get("problem"), dict):
        return _moved(Problem(**own), loc)
    name = _field(loc)
    if line["type"] == _UNKNOWN:
        key = redact_value("name", name)
        cure = did_you_mean(name, known)
        return Problem((*loc[:-1], key.strip("'")), f"unknown key {key}", source, cure=cure, kind=_UNKNOWN)
    got = None if line["type"] in _WITHOUT_VALUE else redact_value(name, line["input"])
    raised = context.get("error")
    if isinstance(raised, ConfigurationError):
        got = None  # its text shows the value already, where that helps
    return Problem(loc, _complaint(name, line, raised), source, got, kind=line["type"])


def _moved(problem: Problem, loc: Loc) -> Problem:
    """A nested part's problem, as the part around it sees it."""
    if not problem.loc:  # about the nested part as a whole, which did not know its own name
        return replace(problem, loc=loc, what=problem.what.replace(_NAMELESS, _field(loc), 1))
    return replace(problem, loc=(*loc[: len(loc) - len(problem.loc)], *problem.loc))


def _field(loc: Loc) -> str:
    # Pydantic marks the key of a dictionary with a step of its own.
    return next((step for step in reversed(loc) if isinstance(step, str) and step != "[key]"), _NAMELESS)


def _complaint(name: str, line: ErrorDetails, raised: Any) -> str:
    if raised is not None:
        text = str(raised)
        return text if text.startswith(name) else f"{name}: {text}"
    if line["type"] == "missing":
        return f"{name} is required"
    rule = line["msg"].replace("Input should be", "must be", 1)
    return f"{name} {rule[0].lower()}{rule[1:]}"
