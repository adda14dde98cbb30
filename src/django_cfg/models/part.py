"""Base of every configuration part: strict, frozen, and telling everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from django_cfg.models.problem import CODE, Problem, failure, problems_of
from django_cfg.redact import redact_value


class Part(BaseModel):
    """A part of the configuration; unknown keys are refused, inputs never appear in errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    # Keys that once existed or are often guessed: the reason and the cure instead of a similar name.
    refused_keys: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Problem]:
        """Problems between fields; `values` holds the fields that are right in themselves."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _tell_all(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, cls):
            return handler(data)
        try:
            made = handler(data)
        except ValidationError as error:
            problems = [cls._reasoned(p) for p in problems_of(error, cls._source(), list(cls.model_fields))]
            values = cls._right_values(data, problems)
        else:
            problems, values = [], {name: getattr(made, name) for name in cls.model_fields}
        problems += [p.at(cls._source()) if p.source == CODE else p for p in cls.contradictions(values)]
        if problems:
            # `from None`: the first error's text names raw values of nested validators.
            raise failure(cls.__name__, problems) from None
        return made

    @classmethod
    def _source(cls) -> str:
        return f"{cls.__name__} in code"

    @classmethod
    def _reasoned(cls, problem: Problem) -> Problem:
        reason = cls.refused_keys.get(str(problem.loc[0])) if len(problem.loc) == 1 else None
        if reason is None or problem.kind != "extra_forbidden":
            return problem
        return Problem(problem.loc, reason, problem.source, kind=problem.kind)

    @classmethod
    def _right_values(cls, data: Any, problems: Iterable[Problem]) -> dict[str, Any]:
        wrong = {problem.loc[0] for problem in problems if problem.loc}
        given = data if isinstance(data, Mapping) else {}
        fields = {name: field for name, field in cls.model_fields.items() if name not in wrong}
        values = {
            name: given[name] if name in given else field.get_default(call_default_factory=True)
            for name, field in fields.items()
        }
        return cls.read_fields(values)[0]

    @classmethod
    def read_fields(cls, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Each value as its field of this class holds it, and the problems of those that cannot be read."""
        right: dict[str, Any] = {}
        problems: list[Problem] = []
        for name in filter(values.__contains__, cls.model_fields):
            try:
                right[name] = _adapter(cls.model_fields[name]).validate_python(values[name])
            except ValidationError as error:
                problems += problems_of(error, CODE, list(cls.model_fields), under=(name,))
        return right, problems

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name in type(self).model_fields:
            value = getattr(self, name)
            yield name, value if isinstance(value, Part) else _Shown(redact_value(name, value))


class _Shown(str):
    """Text that is its own representation."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    declared: Any = Annotated[field.annotation, field]
    return TypeAdapter(declared)
