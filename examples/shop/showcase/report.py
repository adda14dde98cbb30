"""What is printed when the work has ended. Formats only; asks the engine's read side and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.environment import env
from apps.knowbase.models import Document, DocumentChunk
from apps.knowbase.services.search_service import Hit, search
from dramatiq.results.errors import ResultError

from django_cfg.tasks import queries
from django_cfg.units import humane, s_to_ms
from showcase.work import Work

HEADER = (
    *("task", "queue", "ran", "completed", "retried", "dead"),
    *("waited p50", "max", "took p50", "max"),
)
RESULT_WITHIN_MS = 5_000


def print_report(work: Work, took_s: float, question: str) -> None:
    """The whole end of the demo, in order."""
    print(f"\nAll work ended after {humane(s_to_ms(took_s))}.\n")
    print(table(HEADER, _task_rows(), text_columns=2))
    print_dead_letters()
    print_results(work)
    print_answer(question, search(question))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """Aligned columns: the first ones to the left, the numbers after them to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < text_columns else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def print_dead_letters() -> None:
    letters = queries.dead_letters(limit=20)
    print(f"\nDead letters: {len(letters) or 'none'}")
    for letter in letters:
        times = "time" if letter.attempts == 1 else "times"
        print(f"  {letter.task} ({letter.queue}) ran {letter.attempts} {times}, {letter.reason}: {letter.error}")


def print_results(work: Work) -> None:
    exports = sorted((env.media_dir / "exports").glob("*.csv"))
    # Counted by their ids: two workers that write in the same second may share a file.
    mails = sum(path.read_bytes().count(b"\nMessage-ID: ") for path in env.mail_dir.iterdir())
    ready = Document.objects.filter(status=Document.Status.COMPLETED).count()
    print("\nWhat it left behind")
    print(f"  {mails} mails in {env.mail_dir}")
    print(f"  {len(exports)} exports in {env.media_dir / 'exports'}")
    print(f"  {ready} of {work.documents} documents searchable, in {DocumentChunk.objects.count()} chunks")
    print(f"  stock report, the result of a pipeline: {_report(work)}")


def print_answer(question: str, hits: Sequence[Hit]) -> None:
    print(f"\nQuestion: {question}")
    if not hits:
        print("  Nothing in the documents answers that.")
    for place, hit in enumerate(hits, start=1):
        print(f"  {place}. {_place_of(hit)}")
        print(f"     {hit.snippet}")
        print(f"     ({Path(hit.source).name}, similarity {hit.score:.2f})")


def _task_rows() -> list[tuple[str, ...]]:
    tasks = sorted(queries.task_summary(), key=lambda task: (task.queue, task.task))
    return [
        (
            *(task.task, task.queue),
            *map(str, (task.attempts, task.completed, task.retried, task.dead)),
            *map(humane, (task.wait_ms_p50, task.wait_ms_max, task.run_ms_p50, task.run_ms_max)),
        )
        for task in tasks
    ]


def _place_of(hit: Hit) -> str:
    # The first heading of most documents is their title.
    below = hit.heading.removeprefix(hit.title).removeprefix(" › ")
    return f"{hit.title} › {below}" if below else hit.title


def _report(work: Work) -> str:
    try:
        return str(work.report.get_result(block=True, timeout=RESULT_WITHIN_MS))
    except ResultError as error:
        return f"none ({type(error).__name__}: {error})"
