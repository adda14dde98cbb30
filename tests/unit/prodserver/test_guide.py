"""The Python of the guide runs, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from django_prodserver.conf import KEYS, RESTARTS
from django_prodserver.plan import load

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "prodserver.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_block_runs(block: str) -> None:
    exec(compile(block, "prodserver.md", "exec"), {})


@pytest.mark.parametrize("path", re.findall(r"`((?!prodserver)[a-z_0-9]+\.[A-Z]\w+)`", GUIDE))
def test_backend_of_the_table_exists(path: str) -> None:
    load(f"django_prodserver.backends.{path}")


@pytest.mark.parametrize("key", KEYS)
def test_key_of_an_entry_is_described(key: str) -> None:
    assert f"| `{key}` |" in GUIDE


@pytest.mark.parametrize("rule", RESTARTS)
def test_restart_rule_is_described(rule: str) -> None:
    assert f'`"{rule}"`' in GUIDE
