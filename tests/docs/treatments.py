"""What is not executed as it stands, each with its reason; and what is validated instead of run."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from django.core.management.base import CommandParser

from django_cfg.models.environment import Environment
from django_cfg.models.tasks import DramatiqConfig
from django_cfg.tasks.management.commands.rundramatiq import Command
from django_cfg.tasks.worker.supervisor import GRACE_S
from tests.docs.markdown import Block

#: Languages that `Reader.follow` knows; `text` is shown only, or compared when it says `output`.
LANGUAGES = frozenset({"python", "bash", "text", "html", "yaml", "ini"})
FLAGS = frozenset({"append", "output", "exit=1", "exit=2"})


@dataclass(frozen=True)
class Exemption:
    """Commands that a test cannot type.

    Attributes:
        instead: what is asserted in their place.
    """

    pattern: str
    reason: str
    instead: Callable[[str, Path], None]


def _demo_is_tested(command: str, repository: Path) -> None:
    test = repository / "tests" / "process" / "test_shop_demo.py"
    assert "def test_all_work_runs" in test.read_text(), "nobody runs the demo any more"
    _verb_exists(command, repository)


def _verb_exists(command: str, repository: Path) -> None:
    verb = shlex.split(command)[2]
    done = subprocess.run(
        [sys.executable, "dev.py", "--help"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert re.search(rf"^  {verb} ", done.stdout, re.M), f"dev.py has no verb {verb!r}"


def _extra_exists(command: str, repository: Path) -> None:
    declared = (repository / "pyproject.toml").read_text()
    for extra in re.findall(r"\[(\w+)\]", command):
        assert re.search(rf"^{extra} = \[", declared, re.M), f"pyproject.toml has no extra {extra!r}"


def _nothing(command: str, repository: Path) -> None:
    """No assertion of its own."""


EXEMPT = (
    Exemption(r"python3 dev\.py demo\b", "tests/process/test_shop_demo.py runs it, with its options", _demo_is_tested),
    Exemption(r"python3 dev\.py \w+", "a test run cannot set up and test itself", _verb_exists),
    Exemption(r"python3 -m venv ", "the tests run in a virtual environment that exists already", _nothing),
    Exemption(r"\. \.venv/bin/activate$", "as above: its interpreter stands first on PATH", _nothing),
    Exemption(r"python -m pip install ", "downloads; the project is installed where the tests run", _extra_exists),
    Exemption(r"sudo systemctl ", "changes the machine; the unit itself is validated", _nothing),
)


def exempt(command: str, block: Block, repository: Path) -> bool:
    """Whether this command is not typed; what stands in for it is asserted."""
    for exemption in EXEMPT:
        if re.match(exemption.pattern, command):
            exemption.instead(command, repository)
            return True
    return False


def validate(block: Block) -> None:
    """Check a block that is neither a file nor run.

    Raises:
        AssertionError: it is wrong, or of a kind that nobody validates.
    """
    validators = {"ini": systemd_unit, "yaml": environment_file}
    assert block.language in validators, f"{block.place}: nobody treats a block of {block.language!r}"
    validators[block.language](block)


def environment_file(block: Block) -> None:
    """YAML outside of a file is what `Environment` reads."""
    Environment(**yaml.safe_load(block.text))


def systemd_unit(block: Block) -> None:
    """A unit that stops workers rightly, and starts a command that exists."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string(block.text)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}, block.place
    service = unit["Service"]
    assert service["KillMode"] == "mixed", f"{block.place}: only the supervisor must get the first signal"
    assert service["Type"] == "exec"
    shutdown_s = DramatiqConfig().shutdown_timeout_ms / 1000 + GRACE_S
    assert int(service["TimeoutStopSec"]) > shutdown_s, f"{block.place}: systemd would kill before the supervisor does"
    accepted(service["ExecStart"])


def accepted(command: str) -> None:
    """The flags of a `manage.py rundramatiq` command line are ones that it takes."""
    words = shlex.split(command)
    arguments = words[words.index("rundramatiq") + 1 :]
    parser: CommandParser = Command().create_parser("manage.py", "rundramatiq")
    parser.parse_args(arguments)
