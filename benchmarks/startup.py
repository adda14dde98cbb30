"""`python3 dev.py bench startup`: what `prodserver` adds to the time until a server answers its first request.

Each round starts the server directly and by `prodserver`, in turn, so that drift hits both alike. The time is
that from the start of the process until a page of the sample project arrives; medians, and their ratio.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOP = Path(__file__).resolve().parent.parent / "examples" / "shop"
PATIENCE_S = 60.0
PAGE = "/admin/login/"


@dataclass(frozen=True)
class Server:
    """One way to serve: its entry in PRODUCTION_PROCESSES and the command line that does the same."""

    name: str
    backend: str
    args: dict[str, Any]
    direct: tuple[str, ...]


def servers(port: int) -> list[Server]:
    """Every server that the guide names, with one process and with two."""
    wsgi, asgi = "django_prodserver.wsgi:application", "django_prodserver.asgi:application"
    address = f"127.0.0.1:{port}"
    uvicorn = ("uvicorn", "--port", str(port), "--lifespan", "off")
    return [
        Server("gunicorn", "gunicorn.GunicornServer", {"bind": address}, ("gunicorn", "-b", address, wsgi)),
        Server("gunicorn, 2 workers", "gunicorn.GunicornServer", {"bind": address, "workers": 2},
               ("gunicorn", "-b", address, "-w", "2", wsgi)),
        Server("uvicorn", "uvicorn.UvicornServer", {"port": port}, (*uvicorn, asgi)),
        Server("uvicorn, 2 workers", "uvicorn.UvicornServer", {"port": port, "workers": 2},
               (*uvicorn, "--workers", "2", asgi)),
        Server("granian", "granian.GranianWSGIServer", {"port": port},
               ("granian", "--interface", "wsgi", "--port", str(port), wsgi)),
        Server("waitress", "waitress.WaitressServer", {"listen": address}, ("waitress", "--listen", address, wsgi)),
    ]  # fmt: skip


def seconds_to_first_page(command: Sequence[str], port: int, environment: dict[str, str]) -> float:
    """Start it, ask until it answers, end it."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=SHOP, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                raise SystemExit(f"no answer from {' '.join(command)}")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", PAGE)
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def environment(directory: Path, server: Server) -> dict[str, str]:
    """The sample project with one more setting, written where both starts find it."""
    entry = {"BACKEND": f"django_prodserver.backends.{server.backend}", "ARGS": server.args}
    lines = (
        "from api.settings import *",
        "ALLOWED_HOSTS = ['127.0.0.1']",
        "DEBUG = False",
        "SECRET_KEY = 'b' * 60",
        f"DATABASES['default']['NAME'] = {str(directory / 'shop.sqlite3')!r}",
        "if 'django_prodserver' not in INSTALLED_APPS: INSTALLED_APPS = [*INSTALLED_APPS, 'django_prodserver']",
        f"PRODUCTION_PROCESSES = {{'web': {entry!r}}}",
    )
    (directory / "startup_settings.py").write_text("\n".join(lines))
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **ours,
        "PYTHONPYCACHEPREFIX": str(directory / "bytecode"),  # as in an installed project
        "DJANGO_SETTINGS_MODULE": "startup_settings",
        "PYTHONPATH": os.pathsep.join([str(directory), str(SHOP)]),
    }


def compare(server: Server, port: int, rounds: int) -> str:
    with tempfile.TemporaryDirectory(prefix="bench-startup-") as name:
        known = environment(Path(name), server)
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=SHOP, env=known, check=True, stdout=subprocess.DEVNULL)
        ways = {
            "direct": [sys.executable, "-m", *server.direct],
            "prodserver": [sys.executable, "manage.py", "prodserver", "web"],
            "skipping checks": [sys.executable, "manage.py", "prodserver", "web", "--skip-checks"],
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way in rotated(list(ways), number):
                took = seconds_to_first_page(ways[way], port, known)
                if number:  # the first round warms the file cache
                    times[way].append(took)
    direct, checked, skipped = (statistics.median(times[way]) for way in ways)
    return (
        f"{server.name:20} {direct * 1000:7.0f} ms {checked * 1000:7.0f} ms {checked / direct - 1:+7.1%}"
        f" {skipped * 1000:7.0f} ms {skipped / direct - 1:+7.1%}"
    )


def rotated(ways: list[str], by: int) -> list[str]:
    """Each way comes first, second and last equally often: what ran before leaves its mark on what follows."""
    return ways[by % len(ways) :] + ways[: by % len(ways)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="dev.py bench startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="measured rounds of each server (9)")
    parser.add_argument("--only", default="", help="servers whose name starts with this")
    options = parser.parse_args(words)
    port = free_port()
    print(f"{'server':20} {'direct':>10} {'prodserver':>10} {'':7} {'--skip-checks':>13}")
    for server in servers(port):
        if server.name.startswith(options.only):
            print(compare(server, port, options.rounds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
