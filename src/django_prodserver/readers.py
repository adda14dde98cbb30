"""Asks the parsers of servers which options they have: argparse, click, and a plain help text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

from django_prodserver.options import Many, Option, Takes

_HELP_LINE = re.compile(r"^\s+(?:-(?P<short>\w)(?:,? \S+)?, )?--(?P<name>[\w-]+)(?P<value>[ =]\S+)?", re.MULTILINE)


def from_argparse(parser: argparse.ArgumentParser) -> dict[str, Option]:
    table: dict[str, Option] = {}
    for action in parser._actions:  # argparse has no public list of what it accepts
        for spelling in action.option_strings:
            table[spelling.lstrip("-")] = _argparse_option(action, spelling)
    return table


def _argparse_option(action: argparse.Action, spelling: str) -> Option:
    flags = [flag for flag in action.option_strings if flag.startswith("--")] or action.option_strings
    takes, many = _argparse_takes(action), _argparse_many(action)
    if not isinstance(action, argparse.BooleanOptionalAction):
        return Option(flags[0], action.dest, takes, many)
    off = next(flag for flag in flags if flag.startswith("--no-"))
    flag, other = (off, flags[0]) if spelling == off else (flags[0], off)
    return Option(flag, action.dest, takes, many, other)


def _argparse_takes(action: argparse.Action) -> Takes:
    if action.nargs == 0:
        return Takes.NOTHING
    return Takes.OPTIONAL if action.nargs == "?" else Takes.VALUE


def _argparse_many(action: argparse.Action) -> Many:
    if isinstance(action, argparse._AppendAction):  # also the base of "extend"
        return Many.REPEATED
    return Many.SPREAD if action.nargs in ("*", "+") else Many.REFUSED


def from_click(params: Iterable[Any]) -> dict[str, Option]:
    """Of a click command's `params`; its arguments (positions) are left out."""
    table: dict[str, Option] = {}
    for param in params:
        if not any(spelling.startswith("-") for spelling in param.opts):
            continue
        positive, negative = _longest(param.opts), _longest(param.secondary_opts)
        for spelling in param.opts:
            table[spelling.lstrip("-")] = _click_option(param, positive, negative)
        for spelling in param.secondary_opts:
            table[spelling.lstrip("-")] = _click_option(param, spelling, positive)
    return table


def _longest(spellings: list[str]) -> str | None:
    return max(spellings, key=len, default=None)


def _click_option(param: Any, flag: str | None, off: str | None) -> Option:
    return Option(flag or "", param.name, _click_takes(param), _click_many(param), off)


def _click_takes(param: Any) -> Takes:
    if getattr(param, "is_flag", False) or getattr(param, "count", False):
        return Takes.NOTHING
    return Takes.BOOLEAN if param.type.name == "boolean" else Takes.VALUE


def _click_many(param: Any) -> Many:
    if param.multiple:
        return Many.REPEATED
    # Celery's own type for queues and the like.
    return Many.JOINED if "comma" in param.type.name.lower() else Many.REFUSED


def from_help(text: str) -> dict[str, Option]:
    """Of the `--help` of a server that keeps its parser to itself."""
    table: dict[str, Option] = {}
    for found in _HELP_LINE.finditer(text):
        name, short = found["name"], found["short"]
        takes = Takes.VALUE if found["value"] else Takes.NOTHING
        option = Option(f"--{name}", name.replace("-", "_"), takes)
        table |= {name: option} | ({short: option} if short else {})
    return table
