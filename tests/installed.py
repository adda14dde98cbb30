"""Servers that tests start: skipped by name where they are not installed, a failure in CI."""

from __future__ import annotations

import importlib.util
import os

import pytest


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{package} is not installed; CI must have it")
    pytest.skip(f"{package} is not installed")
