"""Which paths a model knows, and what kind of value stands at each."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

ANYTHING = object


def annotation_at(model: type[BaseModel], path: tuple[str, ...]) -> Any:
    """The type of the field at a path of field names; None when there is none.

    Everything below a dictionary field is `ANYTHING`.
    """
    found: Any = model
    for step in path:
        if found is ANYTHING or get_origin(found) is dict:
            return ANYTHING
        fields = fields_of(found)
        if step not in fields:
            return None
        found = fields[step]
    return found


def fields_of(annotation: Any) -> dict[str, Any]:
    """Name and bare type of each field of a model; nothing for any other type."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return {}
    return {name: bare(field.annotation) for name, field in annotation.model_fields.items()}


def paths_of(model: type[BaseModel]) -> list[tuple[str, ...]]:
    """Every path that may be written, sections included."""
    paths: list[tuple[str, ...]] = []
    for name, annotation in fields_of(model).items():
        paths.append((name,))
        if fields_of(annotation):
            paths += [(name, *rest) for rest in paths_of(annotation)]
    return paths


def bare(annotation: Any) -> Any:
    """The type without `Annotated` and without `| None`."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not NoneType]
        return bare(members[0]) if len(members) == 1 else annotation
    return annotation


def is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or annotation is list


def is_nested(annotation: Any) -> bool:
    """Whether a value of this type is written as a JSON object."""
    return get_origin(annotation) is dict or annotation is dict or bool(fields_of(annotation))
