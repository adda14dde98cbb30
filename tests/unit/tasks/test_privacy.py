"""Texts lose their secrets, whoever wrote them, and in no time."""

from __future__ import annotations

import time

import pytest

from django_cfg.tasks.privacy import scrubbed

LONG = ["cookie: " + "a; " * 100_000, "password='" + "\\\\" * 200_000, "token" + " " * 300_000, "cookie=" * 50_000]


@pytest.mark.parametrize(
    "text", [*LONG, "token" * 100_000 + " http://x", "a://b:" * 20_000, "0f" * 200_000 + " amqp://u:p@h"]
)
def test_a_long_text_costs_no_more_than_its_length(text: str) -> None:
    """An error may quote a payload of any size, and its worker does nothing else meanwhile."""
    began = time.process_time()
    scrubbed(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hush@hush@host/0 is away", "redis://:***@host/0 is away"),
        ("X-Api-Key: hush was refused", "X-Api-Key: *** was refused"),
        ("access-key=hush&page=2", "access-key=***"),
        ("host=db pwd=hush user=me", "host=db pwd=*** user=me"),
        ("Cookie: theme=dark; sessionid=hush\nHost: x", "Cookie: ***\nHost: x"),
        ("{'Cookie': 'theme=dark; sessionid=hush', 'Host': 'x'}", "{'Cookie': ***, 'Host': 'x'}"),
        (r"{'password': 'it\'s hush', 'user': 'me'}", "{'password': ***, 'user': 'me'}"),
        ("token=hush; user=me", "token=***; user=me"),
    ],
)
def test_a_text_loses_what_it_assigns_to_a_secret_name_and_no_more(text: str, shown: str) -> None:
    assert scrubbed(text) == shown
