"""A webhook does not lead into our own network, whatever its address looks like, and its URL is never shown."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_cfg.errors import WebhookError
from django_cfg.modules import webhook

PRIVATE = [
    "127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.7", "192.168.1.1", "172.16.0.1", "0.0.0.0", "[fd00::1]",
    "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "0x7f.1", "localhost", "224.0.0.1", "100.64.0.1",
]  # fmt: skip


class Server:
    """A stub on this machine: what it got, and what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.status, self.headers = 200, {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, json.loads(body)))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def stub() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(WebhookError) as caught:
        webhook.post(f"https://{host}/hush-hush", {})
    assert "hush-hush" not in str(caught.value)
    assert "private address" in str(caught.value) or "is unknown" in str(caught.value)


@pytest.mark.parametrize("url", ["http://example.com/", "file:///etc/passwd", "gopher://example.com/", "ftp://h/x"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(WebhookError, match="must be https"):
        webhook.post(url, {})


def test_a_host_that_was_named_may_be_private_and_plain(stub: Server) -> None:
    webhook.post(f"http://127.0.0.1:{stub.port}/a?b=c", {"text": "hello"}, private_hosts=["127.0.0.1"])
    assert stub.got == [("/a?b=c", {"text": "hello"})]


def test_a_redirect_is_an_answer_and_not_followed(stub: Server) -> None:
    stub.status, stub.headers = 302, {"Location": f"http://127.0.0.1:{stub.port}/inside"}
    with pytest.raises(WebhookError, match=r"^the webhook at 127\.0\.0\.1 answered 302$"):
        webhook.post(f"http://127.0.0.1:{stub.port}/hush-hush", {}, private_hosts=["127.0.0.1"])
    assert [path for path, _ in stub.got] == ["/hush-hush"]


def test_a_name_is_resolved_once_and_that_address_is_used(stub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int, **more: Any) -> Any:
        asked.append(host)
        address = ("127.0.0.1", stub.port) if len(asked) == 1 else ("10.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    webhook.post("http://hooks.example/x", {}, private_hosts=["Hooks.Example"])
    assert asked == ["hooks.example"]
    assert len(stub.got) == 1


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(WebhookError, match="private address"):
        webhook.post("https://hooks.example/x", {})


def test_nobody_there_is_a_short_error_without_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(WebhookError, match=r"no answer from the webhook at 127\.0\.0\.1") as caught:
        webhook.post(f"http://127.0.0.1:{port}/hush-hush", {}, private_hosts=["127.0.0.1"])
    assert "hush-hush" not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(WebhookError, match="TimeoutError"):
            webhook.post(url, {}, private_hosts=["127.0.0.1"], timeout_s=0.2)


def test_a_certificate_is_asked_for(stub: Server) -> None:
    with pytest.raises(WebhookError, match="no answer"):
        webhook.post(f"https://127.0.0.1:{stub.port}/", {}, private_hosts=["127.0.0.1"])
    assert stub.got == []


@pytest.mark.parametrize(("address", "answer"), [("93.184.216.34", True), ("fe80::1%eth0", False), ("2606::1", True)])
def test_public_means_the_open_internet(address: str, answer: bool) -> None:
    assert webhook.is_public(address) is answer
