"""How mail leaves: one mailer and the default sender."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.models.problem import Problem, did_you_mean
from django_cfg.redact import redact_value

_BACKENDS = {
    "smtp": "django.core.mail.backends.smtp.EmailBackend",
    "console": "django.core.mail.backends.console.EmailBackend",
    "file": "django.core.mail.backends.filebased.EmailBackend",
    "memory": "django.core.mail.backends.locmem.EmailBackend",
    "dummy": "django.core.mail.backends.dummy.EmailBackend",
}
SMTP, FILE = _BACKENDS["smtp"], _BACKENDS["file"]


def _backend(value: str) -> str:
    if value in _BACKENDS:
        return _BACKENDS[value]
    if "." in value:
        return value
    shown = redact_value("backend", value)
    raise ConfigurationError(
        f"backend {shown} is neither a dotted path nor known; {did_you_mean(value, list(_BACKENDS))}"
    )


class EmailConfig(Part):
    """Django's mail. `EmailConfig()` sends by SMTP to localhost, port 25."""

    backend: Annotated[str, AfterValidator(_backend)] = Field(
        default="smtp",
        description="smtp, console, file, memory, dummy, or the dotted path of a mail backend.",
    )
    host: str = Field(default="localhost", min_length=1, description="SMTP server.")
    port: int = Field(default=25, ge=1, le=65_535, description="SMTP port.")
    username: str = Field(default="", description='SMTP user; "": no login.')
    password: SecretStr = Field(default=SecretStr(""), description="SMTP password.")
    use_tls: bool = Field(default=False, description="STARTTLS, usually port 587.")
    use_ssl: bool = Field(default=False, description="TLS from the first byte, usually port 465.")
    timeout_s: int = Field(default=10, ge=1, description="Longest wait for the mail server, s.")
    file_path: str = Field(default="", description="Directory of the file backend.")
    default_from_email: str = Field(
        default="webmaster@localhost", min_length=3, description="Sender when a mail names none."
    )

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[Problem]:
        if values.get("use_tls") and values.get("use_ssl"):
            yield Problem(("use_ssl",), "use_tls and use_ssl exclude each other", cure="keep one of them")
        if values.get("backend") == FILE and values.get("file_path") == "":
            yield Problem(("file_path",), "file_path is empty, and the file backend writes there", cure="set it")

    def mailer(self) -> dict[str, Any]:
        """The backend and its arguments, as an entry of `MAILERS`."""
        return {"BACKEND": self.backend, "OPTIONS": self._arguments()}

    def _arguments(self) -> dict[str, Any]:
        if self.backend == FILE:
            return {"file_path": self.file_path}
        if self.backend != SMTP:
            return {}
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password.get_secret_value(),
            "use_tls": self.use_tls,
            "use_ssl": self.use_ssl,
            "timeout": self.timeout_s,
        }
