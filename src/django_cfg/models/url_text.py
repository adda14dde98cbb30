"""What is wrong with the text of any URL, whatever it leads to. No message shows what `redact_url` would hide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, urlsplit

from django_cfg.models.problem import suggest
from django_cfg.redact import HIDDEN

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
BARE_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?(/\d*)?")
_UNEXPANDED = re.compile(r"\$\{[^}]*\}?")
_MUST_BE_ENCODED = {"@": "%40", "#": "%23", "/": "%2F", "?": "%3F"}


def text_complaints(url: str) -> Iterator[str]:
    """Blanks and what nobody expanded."""
    if not url.strip():
        yield "is blank; set it or remove it"
    if url != url.strip():
        yield "starts or ends with a blank or a line break; remove it"
    if _UNEXPANDED.search(url):
        yield "holds a variable that was not expanded (${...}); write its value, or set it before start"
    if any(character.isspace() or not character.isprintable() for character in url):
        yield "holds a blank or a control character; encode a blank as %20"


def wrong_scheme(scheme: str, schemes: Sequence[str], shown: str) -> str:
    """The complaint about a scheme that is none of these."""
    close = suggest(scheme.lower(), schemes)
    hint = f"; did you mean {close}://?" if close else ""
    known = ", ".join(f"{s}://" for s in schemes)
    if shown.startswith(f"{scheme}://"):
        return f"has the scheme {scheme!r}, which is none of {known}{hint}"
    return f"has a scheme that is none of {known}{hint}"


def unescaped(rest: str) -> Iterator[str]:
    """Characters that end the user part too early; each would send the password somewhere else.

    Args:
        rest: the URL behind `://`.
    """
    head, at, _ = rest.rpartition("@")
    found = [character for character in _MUST_BE_ENCODED if at and character in head]
    if not found and "#" in rest:
        found = ["#"]
    if found:
        cures = ", ".join(f"{character} as {_MUST_BE_ENCODED[character]}" for character in found)
        yield f"holds an unescaped {' and '.join(found)} in the user name or password; encode {cures}"


def split_or_complaint(url: str) -> SplitResult | str:
    """The parts of a URL whose host and port can be used, else what is wrong with them."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has a port or host that cannot be read; write host:port with a port of 1–65535"
    return "has port 0; write a port of 1–65535" if port == 0 else parts


def quoted(part: str, shown: str) -> str:
    """A part of a URL, if its redacted form shows it too."""
    return repr(part) if part in shown else HIDDEN
