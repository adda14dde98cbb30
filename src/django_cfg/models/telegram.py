"""The Telegram bot that sends messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.redact import redact_url

PUBLIC_API = "https://api.telegram.org"


class TelegramConfig(Part):
    """One bot, and the chat it writes to when a message names none."""

    bot_token: SecretStr = Field(description="Token of the bot, as @BotFather gave it.")
    chat_id: str = Field("", description='Default chat: a number or @name; "": every message names its own.')
    timeout_s: float = Field(10, gt=0, le=300, description="Longest wait for the Bot API, s.")
    api_url: str = Field(PUBLIC_API, description="Address of the Bot API, for a server of your own.")

    @field_validator("bot_token")
    @classmethod
    def _not_blank(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if not token or any(character.isspace() for character in token):
            raise ConfigurationError("bot_token is empty or holds a blank; copy it from @BotFather again")
        return value

    @field_validator("chat_id", mode="before")
    @classmethod
    def _number_or_name(cls, value: object) -> object:
        # Group chats are negative numbers, and YAML reads them as such.
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("api_url")
    @classmethod
    def _http(cls, value: str) -> str:
        try:
            usable = urlsplit(value).scheme in ("http", "https") and bool(urlsplit(value).hostname)
        except ValueError:
            usable = False
        if not usable:
            raise ConfigurationError(f"api_url {redact_url(value)!r} is no http address; write {PUBLIC_API}")
        return value.rstrip("/")

    def to_django_config(self) -> dict[str, Any]:
        """The value of the setting `TELEGRAM`."""
        return {
            "bot_token": self.bot_token.get_secret_value(),
            "chat_id": self.chat_id,
            "timeout_s": self.timeout_s,
            "api_url": self.api_url,
        }
