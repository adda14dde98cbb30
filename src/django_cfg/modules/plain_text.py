"""The text part of an HTML mail. Standard library only; knows nothing of mail or Django."""

from __future__ import annotations

import re
from html.parser import HTMLParser

HIDDEN = frozenset({"head", "style", "script", "title", "template"})
BLOCKS = frozenset(
    {
        "address",
        "article",
        "blockquote",
        "div",
        "footer",
        "header",
        "main",
        "ol",
        "pre",
        "section",
        "table",
        "ul",
    }
    | {"h1", "h2", "h3", "h4", "h5", "h6", "p"}
)
LINES = frozenset({"br", "hr", "li", "tr"})
CELLS = frozenset({"td", "th"})


def html_to_text(html: str) -> str:
    """What a reader would see of `html`, as plain lines.

    Paragraphs are separated by one empty line, list items start with a dash, table cells of a row share a
    line, and a link keeps its address behind its words.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN:
            self._hidden += 1
        elif tag == "a":
            self._links.append((dict(attrs).get("href") or "", len(self.parts)))
        elif tag == "img":
            self.parts.append(dict(attrs).get("alt") or "")
        else:
            self._break(tag)
            self.parts.append("- " if tag == "li" else "")

    def handle_endtag(self, tag: str) -> None:
        if tag in HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "a":
            self._close_link()
        elif tag in CELLS:
            self.parts.append(" ")
        elif tag in BLOCKS:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # A line break inside a paragraph of the source is a space to its reader.
            self.parts.append(re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        if tag in BLOCKS:
            self.parts.append("\n\n")
        elif tag in LINES:
            self.parts.append("\n")

    def _close_link(self) -> None:
        if not self._links:
            return
        address, start = self._links.pop()
        words = "".join(self.parts[start:]).strip()
        if address.startswith(("http://", "https://", "mailto:")) and address.removeprefix("mailto:") != words:
            self.parts.append(f" ({address})")
