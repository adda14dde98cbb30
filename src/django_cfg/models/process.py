"""One production process: a server or a worker, with its arguments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator

from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.models.tasks.names import check_dotted

Scalar = str | int | float | bool | None
_SCALARS = (str, int, float, bool, type(None))


def _arguments(value: Any) -> Any:
    """One reading for the three shapes; pydantic would report a wrong value once for each."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    if isinstance(value, dict) and all(_is_option(k, v) for k, v in value.items()):
        return dict(value)
    raise ConfigurationError(
        "ARGS must be a dictionary of option and value (text, number, true, false, a list of these, or None "
        "for a bare flag), or a list of texts"
    )


def _is_option(name: object, value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return isinstance(name, str) and all(isinstance(item, _SCALARS) for item in values)


class ProcessConfig(Part):
    """An entry of `PRODUCTION_PROCESSES`; the fields are named like its keys."""

    BACKEND: Annotated[str, AfterValidator(lambda path: check_dotted("BACKEND", path, of="a backend class"))] = Field(
        description="Dotted path of the class that starts the process."
    )
    ARGS: Annotated[dict[str, Scalar | list[Scalar]] | list[str], PlainValidator(_arguments)] = Field(
        default_factory=dict, description="Arguments of the process by option name, or a list of texts."
    )
    APP: str | None = Field(
        default=None, description="Application to serve, where the backend takes one; None: the project's."
    )

    RESTART: Literal["always", "on-failure", "never"] | None = Field(
        default=None, description="When it is started again after its end; None: always."
    )
    STOP_TIMEOUT: float | None = Field(
        default=None, gt=0, le=86_400, description="Seconds to finish after SIGTERM; None: what its own options say."
    )

    def to_django_config(self) -> dict[str, Any]:
        """The entry for `PRODUCTION_PROCESSES`; keys that are not set stay away."""
        optional = {"APP": self.APP, "RESTART": self.RESTART, "STOP_TIMEOUT": self.STOP_TIMEOUT}
        entry: dict[str, Any] = {"BACKEND": self.BACKEND, "ARGS": self.ARGS}
        return entry | {name: value for name, value in optional.items() if value is not None}
