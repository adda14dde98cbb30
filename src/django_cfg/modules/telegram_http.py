"""One POST to the Telegram Bot API. The URL holds the token, so what knows the URL stays in this file."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True)
class Answer:
    """What came back: an HTTP status and the JSON object of the body (empty if it was something else)."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True)
class NoAnswer:
    """Nothing came back; `reason` is fit for a message."""

    reason: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to another host."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def post(url: str, payload: Mapping[str, Any], *, timeout_s: float, secret: str) -> Answer | NoAnswer:
    """Post JSON and read the answer, from which `secret` is taken out.

    Gives up when `timeout_s` seconds bring no byte, and when the body takes longer than that in all.

    Never raises for what the network or the server does: an exception raised here would carry the URL in its
    cause, its context or the locals of its traceback.
    """
    request = urllib.request.Request(
        url, data=json.dumps(payload).encode(), headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(_NoRedirect)
    deadline = time.monotonic() + timeout_s
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return Answer(response.status, _json_object(_read(response, deadline), secret))
    except urllib.error.HTTPError as error:
        with error:
            return _refusal(error, deadline, secret)
    except urllib.error.URLError as error:
        return NoAnswer(_named(error.reason))
    except (OSError, http.client.HTTPException) as error:
        return NoAnswer(_named(error))


def _refusal(error: urllib.error.HTTPError, deadline: float, secret: str) -> Answer:
    try:
        return Answer(error.code, _json_object(_read(error, deadline), secret))
    except (OSError, http.client.HTTPException):
        return Answer(error.code, {})  # the status has come, and it says enough


def _read(response: IO[bytes], deadline: float) -> bytes:
    """The body, at most MAX_ANSWER_BYTES; a server that drips bytes is cut off at the deadline."""
    found = b""
    while len(found) < MAX_ANSWER_BYTES:
        if time.monotonic() > deadline:
            raise TimeoutError
        piece = response.read1(MAX_ANSWER_BYTES - len(found))  # type: ignore[attr-defined]  # HTTPResponse has it
        if not piece:
            break
        found += piece
    return found


def _json_object(raw: bytes, secret: str) -> Mapping[str, Any]:
    text = raw.decode(errors="replace")
    for spelling in (secret, urllib.parse.quote(secret, safe="")):
        text = text.replace(spelling, "<token>")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _named(reason: object) -> str:
    """The kind of failure; never its text, which may quote the URL."""
    return "no answer in time" if isinstance(reason, TimeoutError) else type(reason).__name__
