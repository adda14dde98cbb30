"""Runs in a process of its own with a contestant's app: `python -m benchmarks.producer APP fill|idle|results|has ...`.

An app is a module with `send(number)`, perhaps `send_many(numbers)` and `send_for_result(number)`.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


def rate(send: Callable[[Any], object], items: Iterable[Any], count: int) -> float:
    began = time.perf_counter()
    for item in items:
        send(item)
    return count / (time.perf_counter() - began)


def fill(app: Any, single: int, total: int) -> dict[str, float | None]:
    """Numbers below `single` one by one, the others in bulk where the app can; rates per second."""
    app.send(0)  # the connection is made, the script loaded
    alone = rate(app.send, range(1, single), max(1, single - 1))
    rest = list(range(single, total))
    if rest and hasattr(app, "send_many"):
        return {"single": alone, "bulk": rate(app.send_many, [rest], len(rest))}
    rate(app.send, rest, len(rest))
    return {"single": alone, "bulk": None}


def results(app: Any, total: int) -> dict[str, float | None]:
    """Tasks whose return value is kept."""
    rate(app.send_for_result, range(total), total)
    return {}


def idle(app: Any, count: int, pause_s: float) -> list[float]:
    """Single tasks with pauses between them; when each was sent, by the clock of `slots.mark`."""
    sent = []
    for number in range(count):
        time.sleep(pause_s)
        sent.append(time.monotonic())
        app.send(number)
    return sent


def main() -> None:
    name, verb, *numbers = sys.argv[1:]
    app = importlib.import_module(name)
    if verb == "has":
        print(json.dumps(hasattr(app, numbers[0])))
        return
    first = [int(number) for number in numbers[:1]]
    if verb == "fill":
        print(json.dumps(fill(app, *first, int(numbers[1]))))
    elif verb == "results":
        print(json.dumps(results(app, *first)))
    else:
        print(json.dumps(idle(app, *first, float(numbers[1]))))


if __name__ == "__main__":
    main()
