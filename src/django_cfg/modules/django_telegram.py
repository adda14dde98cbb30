"""Telegram messages through the Bot API. The token never shows: not in errors, logs, reprs or causes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from django_cfg.errors import (
    ConfigurationError,
    TelegramError,
    TelegramRateLimited,
    TelegramUnauthorized,
    TelegramUnreachable,
)
from django_cfg.modules.telegram_http import Answer, NoAnswer, post

MAX_TEXT: Final = 4096  # Telegram's limit of one message, in UTF-16 units
CUT_MARK: Final = "\n[cut: the message was too long]"
DEFAULT_API_URL: Final = "https://api.telegram.org"
DEFAULT_TIMEOUT_S: Final = 10.0
DEFAULT_RETRY_AFTER_S: Final = 30
PARSE_MODES: Final = (None, "HTML", "Markdown", "MarkdownV2")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
TOKEN: Final = re.compile(r"[0-9]+:[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Bot:
    """What the setting TELEGRAM says, checked."""

    token: str = field(repr=False)
    chat_id: str | int | None
    timeout_s: float
    api_url: str


class DjangoTelegram:
    """Sends messages as the bot of the setting TELEGRAM.

    Making one reads no setting and connects to nothing. Keys of TELEGRAM: `bot_token`; `chat_id`, for
    messages that name none; `timeout_s` in seconds, default 10; `api_url`, default https://api.telegram.org.
    """

    def send_message(self, *, text: str, chat_id: str | int | None = None, parse_mode: str | None = None) -> int:
        """Send one message and return Telegram's id of it.

        `chat_id=None` means TELEGRAM["chat_id"]. `parse_mode` is None (plain text), "HTML", "Markdown" or
        "MarkdownV2"; whoever sets it escapes the text. A text above 4096 UTF-16 units is cut and says so, and
        then goes out as plain text, because a cut may have parted a tag from its end.

        Raises:
            ConfigurationError: TELEGRAM is missing or wrong.
            TelegramUnauthorized: the token is wrong; a retry will not help.
            TelegramRateLimited: wait for `retry_after` seconds.
            TelegramUnreachable: no usable answer; a retry may help.
            TelegramError: Telegram refused this message (no such chat, broken markup).
        """
        bot = read_settings()
        if parse_mode not in PARSE_MODES:
            raise TelegramError(f"parse_mode: expected one of {PARSE_MODES}, got {parse_mode!r}")
        message = _message(text, bot.chat_id if chat_id is None else chat_id, parse_mode)
        url = f"{bot.api_url}/bot{bot.token}/sendMessage"
        answer = post(url, message, timeout_s=bot.timeout_s, secret=bot.token)
        del url  # so that no error report with local variables can show it
        return message_id(answer)


def read_settings() -> Bot:
    """The setting TELEGRAM as a `Bot`.

    Raises:
        ConfigurationError: a key is missing, unknown or unusable; names it, and never shows the token.
    """
    given: Mapping[str, Any] | None = getattr(settings, "TELEGRAM", None)
    if not given or not given.get("bot_token"):
        raise ConfigurationError(
            'TELEGRAM["bot_token"] is not set; get a token from @BotFather and write '
            'TELEGRAM = {"bot_token": "...", "chat_id": "..."}'
        )
    unknown = set(given) - {"bot_token", "chat_id", "timeout_s", "api_url"}
    if unknown:
        raise ConfigurationError(f"TELEGRAM has unknown keys: {', '.join(sorted(unknown))}")
    return Bot(
        token=_token(str(given["bot_token"])),
        chat_id=given.get("chat_id"),
        timeout_s=_timeout(given.get("timeout_s", DEFAULT_TIMEOUT_S)),
        api_url=_api_url(str(given.get("api_url") or DEFAULT_API_URL)),
    )


def cut(text: str) -> str:
    """`text`, or as much of it as Telegram takes in one message, with a last line that says so."""
    if _units(text) <= MAX_TEXT:
        return text
    room = (MAX_TEXT - _units(CUT_MARK)) * 2
    # Half of a surrogate pair at the cut is dropped, not sent as a broken character.
    return text.encode("utf-16-le", "surrogatepass")[:room].decode("utf-16-le", "ignore") + CUT_MARK


def message_id(answer: Answer | NoAnswer) -> int:
    """The id in a good answer; for every other answer the error that says what to do."""
    if isinstance(answer, NoAnswer):
        raise TelegramUnreachable(f"Telegram did not answer: {answer.reason}")
    words = str(answer.body.get("description", "no reason given"))[:300]
    said = f"Telegram answered {answer.status}: {words}"
    if answer.status in (401, 404):
        raise TelegramUnauthorized(f'{said}. Check TELEGRAM["bot_token"]')
    if answer.status == 429:
        wait_s = _retry_after(answer.body)
        raise TelegramRateLimited(f"{said}. Wait for {wait_s} s", retry_after=wait_s)
    if answer.status >= 500 or (answer.status == 200 and "ok" not in answer.body):
        raise TelegramUnreachable(f"{said}. Not an answer of the Bot API" if answer.status == 200 else said)
    if answer.status != 200 or answer.body["ok"] is not True:
        raise TelegramError(said)
    return _sent_id(answer.body)


def _message(text: str, chat_id: str | int | None, parse_mode: str | None) -> dict[str, Any]:
    if chat_id is None or chat_id == "":
        raise ConfigurationError('send_message got no chat_id and TELEGRAM["chat_id"] is not set')
    if not text.strip():
        raise TelegramError("Telegram takes no empty message; text has nothing but spaces")
    short = cut(text)
    message: dict[str, Any] = {"chat_id": chat_id, "text": short}
    if parse_mode is not None and short == text:
        message["parse_mode"] = parse_mode
    return message


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _token(token: str) -> str:
    # Anything else could also steer the request to another path of the server.
    if TOKEN.fullmatch(token) is None:
        raise ConfigurationError('TELEGRAM["bot_token"] does not look like a token; expected digits:letters (hidden)')
    return token


def _timeout(timeout_s: object) -> float:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 300:
        raise ConfigurationError(f'TELEGRAM["timeout_s"]: expected seconds above 0 and up to 300, got {timeout_s!r}')
    return float(timeout_s)


def _api_url(url: str) -> str:
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not safe or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigurationError(
            'TELEGRAM["api_url"]: expected https://host (http:// only for this machine), '
            "because requests to it carry the token"
        )
    return url.rstrip("/")


def _retry_after(body: Mapping[str, Any]) -> int:
    parameters = body.get("parameters")
    seconds = parameters.get("retry_after") if isinstance(parameters, dict) else None
    return seconds if isinstance(seconds, int) and seconds >= 0 else DEFAULT_RETRY_AFTER_S


def _sent_id(body: Mapping[str, Any]) -> int:
    result = body.get("result")
    number = result.get("message_id") if isinstance(result, dict) else None
    if not isinstance(number, int):
        raise TelegramUnreachable("Telegram answered 200 without a message id; the message may have been sent")
    return number
