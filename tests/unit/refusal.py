"""Reading what a configuration refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError


def refusal(make: Callable[[], object]) -> str:
    """The whole text of the error that `make()` raises."""
    with pytest.raises(ValidationError) as caught:
        make()
    return str(caught.value)


def refusals(make: Callable[[], object]) -> dict[str, str]:
    """Field path to message, for each problem that `make()` reports."""
    with pytest.raises(ValidationError) as caught:
        make()
    return {".".join(map(str, line["loc"])): line["msg"] for line in caught.value.errors()}
