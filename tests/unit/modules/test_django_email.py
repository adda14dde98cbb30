"""Mails are rendered and handed over; errors say whether a later attempt may help."""

from __future__ import annotations

import errno
import smtplib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
import pytest
from django.core import mail
from django.template import TemplateDoesNotExist
from django.test import override_settings

from django_cfg.errors import EmailError, EmailRetryable
from django_cfg.modules.django_email import DjangoEmailService, _outcome
from django_cfg.modules.plain_text import html_to_text

GREETING = {"template_name": "emails/greeting.html", "context": {"user_name": "Ann"}, "subject": "Hello"}


@pytest.fixture(autouse=True)
def mails_kept_in_memory() -> Iterator[None]:
    """From Django 6.1 on, mail needs MAILERS, whatever the test project is set to."""
    locmem = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    with override_settings(**({"MAILERS": locmem} if django.VERSION >= (6, 1) else {})):
        yield


def send(**changes: Any) -> int:
    return DjangoEmailService().send_template(**{**GREETING, "recipient_list": ["ann@shop.example"], **changes})


def test_html_template_is_sent_with_a_text_part_made_from_it() -> None:
    assert send(from_email="shop@shop.example", reply_to=["help@shop.example"]) == 1

    [sent] = mail.outbox
    [(html, kind)] = sent.alternatives  # type: ignore[attr-defined]  # EmailMultiAlternatives has them
    assert (sent.to, sent.from_email, sent.subject) == (["ann@shop.example"], "shop@shop.example", "Hello")
    assert sent.reply_to == ["help@shop.example"]
    assert kind == "text/html" and "<h1>Hello Ann</h1>" in html
    assert "Hello Ann" in sent.body and "<" not in sent.body


def test_text_template_beside_the_html_is_the_text_part() -> None:
    send(template_name="emails/receipt.html")

    assert mail.outbox[0].body == "Dear Ann, thank you.\n"


def test_markup_in_a_value_is_escaped_in_html_and_left_alone_in_text() -> None:
    send(template_name="emails/receipt.html", context={"user_name": "<b>Fish & Co</b>"})

    sent = mail.outbox[0]
    assert "<b>Fish & Co</b>" in sent.body
    assert "&lt;b&gt;Fish &amp; Co&lt;/b&gt;" in str(sent.alternatives[0][0])  # type: ignore[attr-defined]


def test_txt_template_alone_is_a_plain_mail() -> None:
    send(template_name="emails/receipt.txt")

    assert mail.outbox[0].alternatives == []  # type: ignore[attr-defined]


def test_all_recipients_get_one_mail() -> None:
    assert send(recipient_list=("ann@shop.example", "bob@shop.example")) == 1
    assert mail.outbox[0].to == ["ann@shop.example", "bob@shop.example"]


@pytest.mark.parametrize("nobody", [[], [""], ["  "]])
def test_mail_to_nobody_is_an_error(nobody: list[str]) -> None:
    with pytest.raises(EmailError, match="recipient_list has no address"):
        send(recipient_list=nobody)


def test_one_string_as_recipient_list_is_an_error() -> None:
    with pytest.raises(EmailError, match=r"expected a list of addresses"):
        send(recipient_list="ann@shop.example")


@pytest.mark.parametrize("header", ["subject", "from_email"])
def test_line_break_in_a_header_is_refused(header: str) -> None:
    with pytest.raises(EmailError, match="mail not sent"):
        send(**{header: "a@shop.example\nBcc: spam@shop.example"})
    assert mail.outbox == []


def test_missing_template_is_named() -> None:
    with pytest.raises(TemplateDoesNotExist, match=r"emails/nothing\.html"):
        send(template_name="emails/nothing.html")


def test_html_to_text_keeps_what_a_reader_sees() -> None:
    html = "<style>x</style><p>One\n two <a href='https://a.example/b'>here</a></p><ul><li>A</li><li>B</li></ul>"

    assert html_to_text(html) == "One two here (https://a.example/b)\n\n- A\n- B\n"


def test_html_to_text_keeps_cells_of_a_row_on_one_line_and_no_address_twice() -> None:
    rows = "<tr><td>Tea</td><td>2</td></tr><tr><td>Mug</td><td>1</td></tr>"
    html = f"<table>{rows}</table><a href='mailto:a@b.c'>a@b.c</a>"

    assert html_to_text(html) == "Tea 2\nMug 1\n\na@b.c\n"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (smtplib.SMTPServerDisconnected("gone"), EmailRetryable),
        (TimeoutError("timed out"), EmailRetryable),
        (ConnectionRefusedError(111, "refused"), EmailRetryable),
        (OSError(errno.EHOSTUNREACH, "no route"), EmailRetryable),
        (smtplib.SMTPConnectError(-1, "no greeting"), EmailRetryable),
        (smtplib.SMTPSenderRefused(550, b"not you", "a@b.c"), EmailError),
        (smtplib.SMTPNotSupportedError("no STARTTLS"), EmailError),
        (ssl.SSLCertVerificationError("self-signed"), EmailError),
        (PermissionError(errno.EACCES, "denied"), EmailError),
    ],
)
def test_only_passing_errors_are_retryable(cause: OSError, expected: type[EmailError]) -> None:
    assert type(_outcome(cause)) is expected


class Script(socketserver.StreamRequestHandler):
    """A mail server that answers by a table; everything else gets 250."""

    answers: dict[str, str]

    def handle(self) -> None:
        self.reply(self.answers.get("greeting", "220 ready"))
        for line in self.rfile:
            verb = line.decode().split()[0].upper() if line.strip() else ""
            if verb == "EHLO":
                self.reply("250-here\r\n250 AUTH PLAIN")
            elif verb == "DATA" and "DATA" not in self.answers:
                self.reply("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.reply(self.answers.get("END", "250 taken"))
            else:
                self.reply(self.answers.get(verb, "250 fine"))

    def reply(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


@contextmanager
def mail_server(**answers: str) -> Iterator[Any]:
    """A real SMTP conversation on the loopback interface, as Django's settings of this version name it."""
    handler = type("Scripted", (Script,), {"answers": answers})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with override_settings(**smtp_settings(server.server_address[1])):
                yield server
        finally:
            server.shutdown()
            thread.join()


def smtp_settings(port: int) -> dict[str, Any]:
    backend = "django.core.mail.backends.smtp.EmailBackend"
    options = {"host": "127.0.0.1", "port": port, "timeout": 5, "username": "ann", "password": "opensesame"}
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    names = {"username": "EMAIL_HOST_USER", "password": "EMAIL_HOST_PASSWORD"}
    renamed = {names.get(key, f"EMAIL_{key.upper()}"): value for key, value in options.items()}
    return {"EMAIL_BACKEND": backend, **renamed}


def test_server_that_takes_the_mail_counts_one() -> None:
    with mail_server(AUTH="235 welcome"):
        assert send() == 1


@pytest.mark.parametrize(
    ("answers", "expected", "words"),
    [
        ({"MAIL": "451 try later"}, EmailRetryable, "451 try later"),
        ({"END": "452 disk full"}, EmailRetryable, "452 disk full"),
        ({"RCPT": "450 mailbox busy"}, EmailRetryable, "450 mailbox busy"),
        ({"RCPT": "550 no such mailbox"}, EmailError, "550 no such mailbox"),
        ({"END": "554 spam"}, EmailError, "554 spam"),
        ({"AUTH": "454 ask again later"}, EmailRetryable, "user name and password"),
    ],
)
def test_refusal_of_a_server_is_retryable_for_4xx_only(
    answers: dict[str, str], expected: type[EmailError], words: str
) -> None:
    with mail_server(**{"AUTH": "235 welcome", **answers}), pytest.raises(EmailError, match=words) as caught:
        send()
    assert type(caught.value) is expected


def test_wrong_password_is_an_error_that_shows_nothing_of_it() -> None:
    with (
        mail_server(AUTH="535 wrong: AGFubgBvcGVuc2VzYW1l opensesame"),
        pytest.raises(EmailError, match="did not accept the user name and password") as caught,
    ):
        send()
    assert type(caught.value) is EmailError
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert "opensesame" not in str(caught.value)
