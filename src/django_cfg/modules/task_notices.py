"""How notices of dead letters reach people: mail, Telegram, webhook. Named by `TaskConfig.notices`."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import unquote, urlsplit

from django.core.mail import EmailMultiAlternatives

from django_cfg.modules import django_email, webhook
from django_cfg.modules.django_telegram import DjangoTelegram
from django_cfg.tasks.worker.notices import Notice


def by_mail(target: str, notice: Notice, private_hosts: frozenset[str]) -> None:
    """`mailto:ops@example.com` or several addresses with commas, from DEFAULT_FROM_EMAIL."""
    recipients = [address.strip() for address in unquote(urlsplit(target).path).split(",")]
    django_email.send(EmailMultiAlternatives(notice.subject, notice.text, None, recipients))


def by_telegram(target: str, notice: Notice, private_hosts: frozenset[str]) -> None:
    """`telegram:CHAT`, by the bot of the setting TELEGRAM; as plain text, so nothing in it is markup."""
    DjangoTelegram().send_message(text=notice.text, chat_id=unquote(urlsplit(target).path))


def by_webhook(target: str, notice: Notice, private_hosts: frozenset[str]) -> None:
    """`https://…`: a POST of JSON with `text`, `number` and `groups`; chat services read the first."""
    body = {"schema": 1, "text": notice.text, "number": notice.number, "groups": [asdict(g) for g in notice.groups]}
    webhook.post(target, body, private_hosts=private_hosts)
