"""A notice of dead letters leaves a real worker and arrives at a real server, as the Bot API would get it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from django_cfg.testing.waiting import eventually
from tests.process.conftest import Project

pytestmark = pytest.mark.process
TOKEN = "123456:canary-token"
CANARY = "canary-7f3a-secret"


class BotApi:
    """Answers `sendMessage` and keeps what it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.path, json.loads(body)))
                answer = json.dumps({"ok": True, "result": {"message_id": len(asked)}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def bot_api() -> Iterator[BotApi]:
    made = BotApi()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_dead_letter_is_told_by_telegram_once_and_without_secrets(project: Project, bot_api: BotApi) -> None:
    project.write(processes=1, max_retries=0, notices=("telegram:42",), notices_every_s=1)
    with (project.path / "settings.py").open("a") as file:
        file.write(f"\nTELEGRAM = {{'bot_token': {TOKEN!r}, 'api_url': {bot_api.url!r}}}\n")
    with (project.path / "work" / "tasks.py").open("a") as file:
        file.write("\n\n@dramatiq.actor(max_retries=0)\ndef leaky(password):\n    raise ValueError(f'no {password}')\n")
    workers = project.start()
    eventually(lambda: project.run(
        "from django_cfg.tasks.models import EngineState\n"
        "print(*EngineState.objects.filter(name__startswith='notice:').values_list('name', flat=True))"
    ))  # fmt: skip
    [sent] = project.send(f"leaky.send({CANARY!r})")
    eventually(lambda: bot_api.asked, within_s=20)
    assert workers.stop() == 0
    [(path, message)] = bot_api.asked
    assert path == f"/bot{TOKEN}/sendMessage"
    assert message["chat_id"] == "42"
    assert message["text"].startswith("1 new dead letter within ")
    assert "1 x leaky on default" in message["text"] and sent in message["text"]
    assert CANARY not in message["text"]
    assert TOKEN not in workers.log
