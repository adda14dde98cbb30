"""The command line of the demo."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

QUESTION = "What happens to a task when its worker process is killed?"


@dataclass(frozen=True)
class Options:
    """What the user asked for; folders are absolute, `broker=""` is the database of the project."""

    docs: tuple[Path, ...]
    broker: str
    question: str
    embedder: str
    processes: int
    threads: int
    keep: bool


def read_options(argv: list[str]) -> Options:
    """Parse a command line; ends the program with a usage message when it is wrong."""
    given = _parser().parse_args(argv)
    return Options(
        docs=tuple(given.docs),
        broker=given.broker,
        question=given.question,
        embedder=given.embedder,
        processes=given.processes,
        threads=given.threads,
        keep=given.keep,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py demo", description="Run the sample project's work.")
    add = parser.add_argument
    add(
        "--docs",
        action="append",
        default=[],
        type=_folder,
        metavar="DIR",
        help="ingest *.md of DIR too; repeatable",
    )
    add(
        "--broker",
        default="",
        metavar="URL",
        help="for example redis://localhost:6379/2; default: the database",
    )
    add("--question", default=QUESTION, metavar="TEXT", help="what to ask the knowledge base in the end")
    add(
        "--embedder",
        default="hashing",
        choices=["hashing", "sentence"],
        help="sentence needs the extra embeddings",
    )
    add("--processes", type=_positive, default=2, metavar="N", help="worker processes (default: 2)")
    add("--threads", type=_positive, default=4, metavar="N", help="threads of each (default: 4)")
    add("--keep", action="store_true", help="go on with the state of the last run instead of a clean one")
    return parser


def _folder(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)
