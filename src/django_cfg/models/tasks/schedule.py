"""A task that runs by the clock: by a cron expression, or every so many seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Discriminator, Field, JsonValue, Tag

from django_cfg import cron as crontab
from django_cfg.errors import ConfigurationError
from django_cfg.models.part import Part
from django_cfg.models.tasks.names import check_queue

YEAR_S = 366 * 86_400
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def _zone(name: str) -> str:
    crontab.zone(name)
    return name


def _ping_url(url: str) -> str:
    local = tuple(f"http://{host}{end}" for host in LOCAL for end in ("/", ":"))
    if url and not url.startswith(("https://", *local)):
        raise ConfigurationError("ping_url must be an https:// URL (http:// only to this machine)")
    return url


class Schedule(Part):
    """What cron jobs and interval jobs share."""

    actor_name: str = Field(min_length=1, max_length=255, description="Name of the task.")
    name: str | None = Field(
        default=None, min_length=1, max_length=200, description="Name of the schedule; None: the task's."
    )
    args: list[JsonValue] = Field(default_factory=list, description="Arguments of the task.")
    kwargs: dict[str, JsonValue] = Field(default_factory=dict, description="Named arguments of the task.")
    queue: Annotated[str, AfterValidator(check_queue)] | None = Field(
        default=None, description="Queue of its messages; None: the task's."
    )
    enabled: bool = Field(default=True, description="False: it does not tick.")
    missed: Literal["skip", "latest", "all"] = Field(
        default="latest", description="Ticks that no scheduler was there for: none, the newest, or all of them."
    )
    missed_limit: int = Field(default=100, ge=1, le=1000, description='At most so many with missed="all".')
    missed_window_s: float = Field(
        default=86_400, ge=0, le=YEAR_S, description="Missed ticks that are older stay missed, s."
    )
    overlap: Literal["allow", "skip", "buffer_one", "cancel_other"] = Field(
        default="allow",
        description="A tick whose last run has not ended: run both, skip it, hold one, or cancel the run.",
    )
    jitter_s: float = Field(
        default=0, ge=0, le=86_400, description="Lies behind its times by a fixed span up to this, s."
    )
    start: AwareDatetime | None = Field(default=None, description="No ticks before this moment; None: no bound.")
    end: AwareDatetime | None = Field(default=None, description="No ticks after this moment; None: no bound.")
    ping_url: Annotated[str, AfterValidator(_ping_url)] = Field(
        default="", description='Asked after each successful run, with /fail after a failed one; "": none.'
    )
    description: str = Field(default="", max_length=1000, description="For people.")

    def to_django_config(self) -> dict[str, Any]:
        """An entry as `DRAMATIQ_CRON_JOBS` takes it; keys that were not written stay away."""
        return self.model_dump(mode="json", include=self.model_fields_set, exclude_none=True)


class CronJob(Schedule):
    """A task that runs by a cron expression."""

    cron: Annotated[str, AfterValidator(crontab.check)] = Field(
        description="Five fields, minute first, or an alias like @daily."
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        default=None, description="Whose clocks are meant; None: TIME_ZONE."
    )


class IntervalJob(Schedule):
    """A task that runs every so many seconds, counted from 1970 or from `start`."""

    every_s: float = Field(ge=1, le=YEAR_S, description="Seconds from one tick to the next.")


def _kind(given: Any) -> str:
    has_seconds = "every_s" in given if isinstance(given, dict) else isinstance(given, IntervalJob)
    return "interval" if has_seconds else "cron"


AnySchedule = Annotated[Annotated[CronJob, Tag("cron")] | Annotated[IntervalJob, Tag("interval")], Discriminator(_kind)]
