"""Telegram's answers become errors that say what to do, and none of them shows the token."""

from __future__ import annotations

import json
import logging
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import override_settings

from django_cfg.errors import (
    ConfigurationError,
    TelegramError,
    TelegramRateLimited,
    TelegramUnauthorized,
    TelegramUnreachable,
)
from django_cfg.modules.django_telegram import CUT_MARK, DjangoTelegram, cut, read_settings

TOKEN = "123456:canary-TOKEN_value"
GOOD = (200, {"ok": True, "result": {"message_id": 41}})


class BotServer(ThreadingHTTPServer):
    """Answers every call with `reply` (a status and a body) and keeps what it got."""

    daemon_threads = True
    reply: tuple[int, Any] = GOOD
    headers: dict[str, str] = {}
    hang: threading.Event | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), BotHandler)
        self.got: list[tuple[str, dict[str, Any]]] = []


class BotHandler(BaseHTTPRequestHandler):
    server: BotServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, body))
        if self.server.hang is not None:
            self.server.hang.wait(10)
            return
        status, answer = self.server.reply
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def do_GET(self) -> None:
        self.server.got.append((self.path, {}))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep the test run quiet."""


@pytest.fixture
def bot() -> Iterator[BotServer]:
    with BotServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        given = {"bot_token": TOKEN, "chat_id": "@alerts", "timeout_s": 5, "api_url": address(server)}
        with override_settings(TELEGRAM=given):
            yield server
        server.shutdown()
        thread.join()


def address(server: BotServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def everything(error: BaseException) -> str:
    """All that a log, an error report with local variables or a debugger could show of an error."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    causes = f"{error.__cause__!r} {error.__context__!r}"
    # The frame of the test itself knows the token, of course.
    frames = [str(frame.locals) for frame in report.stack if frame.filename != __file__]
    return " ".join([str(error), repr(error), causes, *frames])


def test_message_is_posted_and_its_id_returned(bot: BotServer) -> None:
    assert DjangoTelegram().send_message(chat_id=7, text="Grüße 🚀", parse_mode="HTML") == 41

    assert bot.got == [(f"/bot{TOKEN}/sendMessage", {"chat_id": 7, "text": "Grüße 🚀", "parse_mode": "HTML"})]


def test_chat_of_the_settings_is_used_when_none_is_named(bot: BotServer) -> None:
    DjangoTelegram().send_message(text="hello")

    assert bot.got[0][1] == {"chat_id": "@alerts", "text": "hello"}


ECHO = f"no route to /bot{TOKEN}/sendMessage or {TOKEN.replace(':', '%3A')}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((401, {"ok": False, "description": "Unauthorized"}), TelegramUnauthorized),
        ((404, {"ok": False, "description": ECHO}), TelegramUnauthorized),
        ((429, {"ok": False, "description": ECHO, "parameters": {"retry_after": 3}}), TelegramRateLimited),
        ((429, b"slow down"), TelegramRateLimited),
        ((500, {"ok": False, "description": ECHO}), TelegramUnreachable),
        ((502, b"<html>bad gateway</html>"), TelegramUnreachable),
        ((200, b"<html>a proxy's page</html>"), TelegramUnreachable),
        ((200, {"ok": True}), TelegramUnreachable),
        ((400, {"ok": False, "description": "chat not found"}), TelegramError),
        ((200, {"ok": False, "description": ECHO}), TelegramError),
    ],
)
def test_answer_becomes_an_error_without_the_token(
    bot: BotServer, reply: tuple[int, Any], expected: type[TelegramError]
) -> None:
    bot.reply = reply
    with pytest.raises(TelegramError) as caught:
        DjangoTelegram().send_message(text="hello")

    assert type(caught.value) is expected
    assert "canary" not in everything(caught.value)


def test_rate_limit_says_how_long_to_wait(bot: BotServer) -> None:
    bot.reply = (429, {"ok": False, "parameters": {"retry_after": 17}})
    with pytest.raises(TelegramRateLimited, match="Wait for 17 s") as caught:
        DjangoTelegram().send_message(text="hello")

    assert caught.value.retry_after == 17


def test_redirect_is_not_followed(bot: BotServer) -> None:
    bot.reply, bot.headers = (302, b""), {"Location": f"{address(bot)}/elsewhere"}
    with pytest.raises(TelegramError, match="answered 302"):
        DjangoTelegram().send_message(text="hello")

    assert len(bot.got) == 1


def test_server_that_hangs_is_given_up(bot: BotServer) -> None:
    bot.hang = threading.Event()
    hurried = {"bot_token": TOKEN, "chat_id": "@alerts", "timeout_s": 0.1, "api_url": address(bot)}
    with override_settings(TELEGRAM=hurried), pytest.raises(TelegramUnreachable, match="in time") as caught:
        DjangoTelegram().send_message(text="hello")
    bot.hang.set()

    assert "canary" not in everything(caught.value)


def test_server_that_is_away_is_unreachable(bot: BotServer) -> None:
    given = {"bot_token": TOKEN, "chat_id": "@alerts", "api_url": "http://127.0.0.1:9"}
    with override_settings(TELEGRAM=given), pytest.raises(TelegramUnreachable, match="Refused") as caught:
        DjangoTelegram().send_message(text="hello")

    assert "canary" not in everything(caught.value)


def test_nothing_is_logged(bot: BotServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    DjangoTelegram().send_message(text="hello")

    assert "canary" not in caplog.text


def test_long_text_is_cut_says_so_and_goes_out_as_plain_text(bot: BotServer) -> None:
    DjangoTelegram().send_message(text="<b>" + "x" * 5000 + "</b>", parse_mode="HTML")

    body = bot.got[0][1]
    assert len(body["text"]) == 4096 and body["text"].endswith(CUT_MARK)
    assert "parse_mode" not in body


def test_limit_counts_as_telegram_does_and_parts_no_character() -> None:
    assert cut("🚀" * 2048) == "🚀" * 2048
    assert len(cut("a" + "🚀" * 2048).encode("utf-16-le")) // 2 <= 4096


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_text_is_refused(bot: BotServer, text: str) -> None:
    with pytest.raises(TelegramError, match="empty message"):
        DjangoTelegram().send_message(text=text)


def test_unknown_parse_mode_is_refused(bot: BotServer) -> None:
    with pytest.raises(TelegramError, match="expected one of"):
        DjangoTelegram().send_message(text="hello", parse_mode="markdown")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r'TELEGRAM\["bot_token"\] is not set'),
        ({}, r'TELEGRAM\["bot_token"\] is not set'),
        ({"bot_token": "../../etc canary"}, "does not look like a token"),
        ({"bot_token": TOKEN, "timeout": 3}, "unknown keys: timeout"),
        ({"bot_token": TOKEN, "timeout_s": 0}, "timeout_s.*got 0"),
        ({"bot_token": TOKEN, "timeout_s": "3"}, "timeout_s.*got '3'"),
        ({"bot_token": TOKEN, "api_url": "http://bots.example"}, "api_url.*https"),
        ({"bot_token": TOKEN, "api_url": "file:///etc/passwd"}, "api_url.*https"),
        ({"bot_token": TOKEN, "api_url": "https://ann:pw@bots.example"}, "api_url.*https"),
    ],
)
def test_wrong_settings_are_named_without_the_token(given: Any, words: str) -> None:
    with override_settings(TELEGRAM=given), pytest.raises(ConfigurationError, match=words) as caught:
        read_settings()
    assert "canary" not in str(caught.value)


def test_missing_chat_is_named() -> None:
    with override_settings(TELEGRAM={"bot_token": TOKEN}), pytest.raises(ConfigurationError, match="chat_id"):
        DjangoTelegram().send_message(text="hello")


def test_settings_show_no_token_when_printed() -> None:
    with override_settings(TELEGRAM={"bot_token": TOKEN}):
        assert "canary" not in repr(read_settings())
