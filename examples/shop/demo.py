#!/usr/bin/env python
"""Runs the sample project's background work from a clean state, with real workers, and shows what happened.

Stop it with Ctrl-C at any point: the workers finish what they are doing and end.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from showcase.options import Options, read_options
from showcase.state import StateError, prepare


def main() -> int:
    options = read_options(sys.argv[1:])
    try:
        lock = prepare(options)
    except StateError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    with lock:
        return started(options)


def started(options: Options) -> int:
    # Imported here: the configuration reads the environment that `prepare` has set, and models can only be
    # imported after Django has started.
    from showcase.start import DemoError, start_django

    try:
        start_django()
        from showcase.run import run

        run(options)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        code = main()
    except KeyboardInterrupt:
        print("\nStopped; no worker is left running.", file=sys.stderr)
        code = 130
    sys.exit(code)
