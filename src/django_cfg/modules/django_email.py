"""Mail from templates, on Django's own mail. Errors say whether a later attempt may help."""

from __future__ import annotations

import errno
import smtplib
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import django
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.template import Context, TemplateDoesNotExist
from django.template.backends.django import Template as DjangoTemplate
from django.template.loader import get_template

from django_cfg.errors import EmailError, EmailRetryable
from django_cfg.modules.plain_text import html_to_text

# What a network does on a bad day, as opposed to a missing folder or a refused certificate.
PASSING = (TimeoutError, ConnectionError, socket.gaierror, smtplib.SMTPServerDisconnected)
PASSING_ERRNO = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


class DjangoEmailService:
    """Renders templates and hands the mails to the mail server of Django's settings.

    Making one connects to nothing and reads no setting.
    """

    def send_template(
        self,
        *,
        template_name: str,
        context: Mapping[str, Any],
        recipient_list: Iterable[str],
        subject: str,
        from_email: str | None = None,
        reply_to: Iterable[str] = (),
    ) -> int:
        """Render a template and send it as one mail to all recipients; returns the number of mails sent.

        `emails/hello.html` becomes an HTML part with a text part beside it: `emails/hello.txt` where that
        template exists, otherwise the words of the HTML. `emails/hello.txt` alone is sent as plain text.
        `from_email=None` means the setting DEFAULT_FROM_EMAIL.

        Raises:
            EmailRetryable: the server did not answer, or asked to come back later.
            EmailError: the mail was refused, has no recipient or has a line break in a header.
            TemplateDoesNotExist: there is no template of that name.
        """
        recipients = _recipients(recipient_list)
        text, html = render(template_name, context)
        message = EmailMultiAlternatives(subject, text, from_email, recipients, reply_to=list(reply_to))
        if html is not None:
            message.attach_alternative(html, "text/html")
        return send(message)


def render(template_name: str, context: Mapping[str, Any]) -> tuple[str, str | None]:
    """The text and the HTML (None for a `.txt` template) of a mail."""
    if template_name.endswith(".txt"):
        return _render_text(template_name, context), None
    html = get_template(template_name).render(dict(context))
    try:
        return _render_text(template_name.rpartition(".")[0] + ".txt", context), html
    except TemplateDoesNotExist:
        return html_to_text(html), html


def send(message: EmailMultiAlternatives) -> int:
    """Hand over one mail; returns how many were taken (0 or 1).

    Raises:
        EmailRetryable: a later attempt may succeed.
        EmailError: it will not.
    """
    try:
        # Built once before anything is sent: this is where Django refuses a line break in a header.
        message.message()
    except ValueError as error:
        raise EmailError(f"mail not sent: {error}") from error
    try:
        # Opened and closed here: Django leaves the socket of a refused log-in to the garbage collector.
        with _connection() as connection:
            return int(connection.send_messages([message]) or 0)
    except smtplib.SMTPAuthenticationError as error:
        # The server's own words may repeat what was sent to it, so they go no further.
        code = error.smtp_code
    except OSError as error:  # smtplib's errors are OSErrors too
        raise _outcome(error) from error
    raise _by_code(code, "the mail server did not accept the user name and password")


def _connection() -> BaseEmailBackend:
    """The default mail backend by the settings of this Django: MAILERS from 6.1 on, EMAIL_* before."""
    if django.VERSION >= (6, 1):
        return mail.mailers.default
    return mail.get_connection()


def _recipients(addresses: Iterable[str]) -> list[str]:
    if isinstance(addresses, str):
        raise EmailError("recipient_list: expected a list of addresses, got one string; write [address]")
    found = [address for address in addresses if address and address.strip()]
    if not found:
        raise EmailError("recipient_list has no address; nobody would get this mail")
    return found


def _render_text(name: str, context: Mapping[str, Any]) -> str:
    template = get_template(name)
    if isinstance(template, DjangoTemplate):
        # Plain text has no markup to protect: "Fish & Chips" must not become "Fish &amp; Chips".
        return template.template.render(Context(dict(context), autoescape=False))
    return str(template.render(dict(context)))


def _outcome(error: OSError) -> EmailError:
    """The error of ours for an error of smtplib or of the network."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, words = min(error.recipients.values())
        return _by_code(code, f"every recipient was refused: {_reply(code, words)}")
    if isinstance(error, smtplib.SMTPResponseException):
        return _by_code(error.smtp_code, f"the mail server answered {_reply(error.smtp_code, error.smtp_error)}")
    if isinstance(error, PASSING) or error.errno in PASSING_ERRNO:
        return EmailRetryable(f"mail not sent: no answer from the mail server ({type(error).__name__})")
    return EmailError(f"mail not sent: {type(error).__name__}: {error}")


def _by_code(code: int, what: str) -> EmailError:
    """SMTP's own rule: 4xx is for now, 5xx is for good. A server that hung up while greeting has code -1."""
    kind = EmailRetryable if code < 0 or 400 <= code < 500 else EmailError
    return kind(f"mail not sent: {what}")


def _reply(code: int, words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return f"{code} {' '.join(text.split())[:200]}"
