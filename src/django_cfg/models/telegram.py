"""The Telegram bot that sends messages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.redact import redact_url

PUBLIC_API = "https://api.telegram.org"
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_\-]+")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class TelegramConfig(Part):
    """One bot, and the chat it writes to when a message names none."""

    bot_token: SecretStr = Field(description="Token of the bot, as @BotFather gave it.")
    chat_id: str = Field(default="", description='Default chat: a number or @name; "": every message names its own.')
    timeout_s: float = Field(default=10, gt=0, le=300, description="Longest wait for the Bot API, s.")
    api_url: str = Field(default=PUBLIC_API, description="Address of the Bot API, for a server of your own.")

    @field_validator("bot_token")
    @classmethod
    def _looks_like_a_token(cls, value: SecretStr) -> SecretStr:
        if not _TOKEN.fullmatch(value.get_secret_value()):
            raise ConfigurationError("bot_token does not look like digits:letters; copy it from @BotFather again")
        return value

    @field_validator("chat_id", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        # Group chats are negative numbers, and YAML reads them as such.
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("api_url")
    @classmethod
    def _private(cls, value: str) -> str:
        if not _is_private(value):
            raise ConfigurationError(
                f"api_url {redact_url(value)!r} must be https://host, or http:// for this machine alone, "
                "because requests to it carry the token"
            )
        return value.rstrip("/")

    def to_django_config(self) -> dict[str, Any]:
        """The value of the setting `TELEGRAM`."""
        return {
            "bot_token": self.bot_token.get_secret_value(),
            "chat_id": self.chat_id,
            "timeout_s": self.timeout_s,
            "api_url": self.api_url,
        }


def _is_private(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return safe and bool(parts.hostname) and not (parts.username or parts.query or parts.fragment)
