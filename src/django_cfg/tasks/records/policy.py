"""Which tasks are recorded, and in which of their states."""

from __future__ import annotations

from enum import StrEnum

from django_cfg.errors import ConfigurationError
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.lifecycle import State


class Policy(StrEnum):
    """`TaskConfig.records`."""

    ALL = "all"
    FINISHED = "finished"
    FAILURES = "failures"
    OFF = "off"


_FAILED = frozenset({State.RETRYING, State.DEAD_LETTER})
_ENDED = _FAILED | {State.COMPLETED, State.CANCELLED}
#: Waiting tasks have no record: producers write none, and the broker knows better.
RECORDED = {
    Policy.ALL: _ENDED | {State.RUNNING},
    Policy.FINISHED: _ENDED,
    Policy.FAILURES: _FAILED,
    Policy.OFF: frozenset[State](),
}


class NotRecorded(ConfigurationError):
    """A question to the records that the setting `records` leaves without an honest answer."""


def policy_of(settings: TaskSettings) -> Policy:
    """What is written, else what `admin_enabled` means.

    Raises:
        ConfigurationError: a word that is no policy.
    """
    if settings.records is None:
        return Policy.ALL if settings.admin_enabled else Policy.FAILURES
    try:
        return Policy(settings.records)
    except ValueError:
        known = ", ".join(Policy)
        raise ConfigurationError(f"records={settings.records!r} is no policy; write one of: {known}") from None


def refuse_without_records(policy: Policy) -> None:
    """Refuse to answer from tables that nobody fills.

    Raises:
        NotRecorded: names the setting.
    """
    if policy is Policy.OFF:
        raise NotRecorded("records='off' keeps no records; set TaskConfig(records='all'), 'finished' or 'failures'")


def refuse_unrecorded(policy: Policy, state: State) -> None:
    """Refuse to answer about a state that is not recorded: nothing found would look like nothing there.

    Raises:
        NotRecorded: names the setting and where the answer is.
    """
    if state in RECORDED[policy]:
        return
    if any(state in states for states in RECORDED.values()):
        cure = f"records={policy.value!r} does not record them; set TaskConfig(records='all')"
    else:
        cure = "tasks that wait have no record"
    raise NotRecorded(f"{state.value} tasks cannot be listed: {cure}. Counts: queries.queue_stats(), dramatiq_status.")
