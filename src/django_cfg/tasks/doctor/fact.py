"""One fact, and how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Finding(StrEnum):
    """How a fact is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"  # could not be looked at


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that was looked at.

    Attributes:
        name: what was looked at; stable, for machines.
        cure: what to do about it; empty where nothing is to be done.
    """

    name: str
    finding: Finding
    text: str
    cure: str = ""


def ok(name: str, text: str, cure: str = "") -> Fact:
    return Fact(name, Finding.OK, text, cure)


def warn(name: str, text: str, cure: str = "") -> Fact:
    return Fact(name, Finding.WARN, text, cure)


def fail(name: str, text: str, cure: str = "") -> Fact:
    return Fact(name, Finding.FAIL, text, cure)


def unknown(name: str, text: str, cure: str = "") -> Fact:
    return Fact(name, Finding.UNKNOWN, text, cure)
