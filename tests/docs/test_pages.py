"""Every fenced block of the README and of docs/ does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.conftest import REPOSITORY
from tests.docs.markdown import Block, blocks, commands
from tests.docs.reader import Reader
from tests.docs.treatments import EXEMPT, FLAGS, LANGUAGES

README = REPOSITORY / "README.md"
GUIDES = sorted((REPOSITORY / "docs").rglob("*.md"))
PAGES = [README, REPOSITORY / "CONTRIBUTING.md", *GUIDES]
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")

pytestmark = pytest.mark.process


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def followed(page: Path, directory: Path) -> None:
    with Reader(directory, REPOSITORY) as reader:
        for block in blocks(page):
            reader.follow(block)
        reader.finish()


def test_a_newcomer_can_follow_the_readme_from_an_empty_directory(tmp_path: Path) -> None:
    followed(README, tmp_path)


@pytest.mark.parametrize("page", [p for p in PAGES[1:] if blocks(p)], ids=name)
def test_every_block_of_a_page_works_in_the_project_of_the_tutorial(page: Path, project: Path) -> None:
    followed(page, project)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_of_a_kind_that_is_treated(page: Path) -> None:
    def is_known(block: Block) -> bool:
        shown_only = block.language == "text" or block.title is not None or block.language in {"python", "bash"}
        return (
            block.language in LANGUAGES and block.flags <= FLAGS and (shown_only or block.language in {"yaml", "ini"})
        )

    assert [block.place for block in blocks(page) if not is_known(block)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_exemption_is_still_needed() -> None:
    typed = [command for page in PAGES for block in blocks(page) if block.language == "bash"
             for command in commands(block.text)]  # fmt: skip
    assert [e.pattern for e in EXEMPT if not any(re.match(e.pattern, command) for command in typed)] == []
