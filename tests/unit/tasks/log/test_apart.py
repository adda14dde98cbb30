"""Lines are written beside the work: in order, with their task, and never at the price of waiting."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from dramatiq import Message
from dramatiq.middleware import CurrentMessage

from django_cfg.tasks.log.apart import apart
from django_cfg.tasks.log.formats import LINE, JsonFormatter
from django_cfg.tasks.log.patient import PatientStream
from django_cfg.testing.waiting import eventually

MESSAGE: Message[Any] = Message("default", "work", ("hush-hush",), {}, {}, message_id="id-1")


class Kept(logging.Handler):
    """Keeps formatted lines; waits in front of its gate."""

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.gate.wait(20)
        self.lines.append(self.format(record))


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("tests.log.apart")
    made.propagate = False
    made.setLevel("DEBUG")
    yield made
    made.handlers = []


@pytest.fixture
def in_task() -> Iterator[None]:
    token = CurrentMessage._MESSAGE.set(MESSAGE)
    yield
    CurrentMessage._MESSAGE.reset(token)


def test_lines_keep_their_order_and_the_handlers_come_back(logger: logging.Logger) -> None:
    kept = Kept()
    logger.handlers = [kept]
    with apart():
        assert logger.handlers != [kept]
        for number in range(100):
            logger.info("line %d", number)
    assert kept.lines == [f"line {number}" for number in range(100)]
    assert logger.handlers == [kept]


def test_lines_above_the_limit_are_dropped_counted_and_reported(logger: logging.Logger) -> None:
    kept = Kept()
    logger.handlers = [kept]
    kept.gate.clear()
    with apart(size=10):
        for number in range(100):
            logger.info("line %d", number)
        kept.gate.set()
        eventually(lambda: any("log lines were dropped" in line for line in kept.lines))
    (report,) = [line for line in kept.lines if "dropped" in line]
    assert len(kept.lines) - 1 + int(report.split()[0]) == 100


def test_a_handler_that_hangs_is_left_behind(logger: logging.Logger) -> None:
    kept = Kept()
    logger.handlers = [kept]
    kept.gate.clear()
    with apart(size=10) as writer:
        logger.info("a line")
    assert writer.is_alive()
    assert logger.handlers != [kept]
    kept.gate.set()


def test_the_words_are_those_of_the_moment(logger: logging.Logger) -> None:
    kept, changing = Kept(), ["before"]
    logger.handlers = [kept]
    kept.gate.clear()
    with apart():
        logger.info("%s", changing)
        changing[0] = "after"
        kept.gate.set()
    assert kept.lines == ["['before']"]


def test_each_handler_keeps_its_level(logger: logging.Logger) -> None:
    quiet, loud = Kept(), Kept()
    quiet.setLevel("ERROR")
    logger.handlers = [quiet, loud]
    with apart():
        logger.info("a")
        logger.error("b")
    assert (quiet.lines, loud.lines) == (["b"], ["a", "b"])


@pytest.mark.parametrize(
    ("form", "text", "line"),
    [
        (None, "a line", "a line [work id-1]"),
        ("%(levelname)s %(message)s", "a line", "INFO a line [work id-1]"),
        ("%(task)s/%(message_id)s %(message)s", "a line", "work/id-1 a line"),
        (None, "work id-1 failed", "work id-1 failed"),
    ],
)
def test_a_line_inside_a_task_names_it_once(
    logger: logging.Logger, in_task: None, form: str | None, text: str, line: str
) -> None:
    kept = Kept(logging.Formatter(form))
    logger.handlers = [kept]
    with apart():
        logger.info(text)
    assert kept.lines == [line]


def test_a_line_outside_of_tasks_names_none(logger: logging.Logger) -> None:
    kept = Kept(logging.Formatter("%(message)s|%(task)s|%(message_id)s"))
    logger.handlers = [kept]
    with apart():
        logger.info("a line")
    assert kept.lines == ["a line||"]


def test_json_carries_errors_and_odd_values(logger: logging.Logger, in_task: None) -> None:
    kept = Kept(JsonFormatter())
    logger.handlers = [kept]
    with apart():
        try:
            raise ValueError("half \udcff")
        except ValueError:
            logger.exception("it failed: %s", {object})
    found = json.loads(kept.lines[0])
    assert (found["task"], found["message_id"], found["level"]) == ("work", "id-1", "ERROR")
    assert "ValueError: half" in found["error"]
    assert "hush-hush" not in kept.lines[0]


def patient(fd: int) -> PatientStream:
    handler = logging.StreamHandler(os.fdopen(fd, "w"))
    handler.setFormatter(logging.Formatter("%(message)s"))
    return PatientStream(handler)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("n", logging.INFO, "f", 1, text, None, None)


def test_a_patient_stream_drops_what_nobody_reads_and_says_so_later() -> None:
    reader, writer = os.pipe()
    handler = patient(writer)
    for _ in range(200):
        handler.emit(record("x" * 1000))
    dropped = handler._dropped
    assert dropped > 100
    while len(os.read(reader, 65536)) == 65536:
        pass
    handler.emit(record("again"))
    assert os.read(reader, 65536).decode().endswith(f"{dropped} log lines were dropped: nobody read them.\nagain\n")
    handler.original.stream.close()
    os.close(reader)


def test_a_patient_stream_cuts_a_line_that_a_pipe_might_not_take() -> None:
    reader, writer = os.pipe()
    handler = patient(writer)
    handler.emit(record("x" * 10_000))
    found = os.read(reader, 65536)
    assert len(found) == 4096
    assert found.endswith(b" ...\n")
    handler.original.stream.close()
    os.close(reader)


def test_the_line_for_people_says_process_thread_and_logger() -> None:
    assert all(f"%({name})" in LINE for name in ("asctime", "process", "threadName", "name", "levelname", "message"))
