"""The laws that every broker keeps. Run them on a broker of your own:

    class TestMyBroker(BrokerContract, WorkerContract):
        ...

with a pytest fixture named `broker` that yields an empty `EngineBroker` whose settings have short backoffs
(`min_backoff=100`, `max_backoff=200`, `max_retries=2`, `max_deliveries=3`), and that is Dramatiq's global
broker meanwhile. The default database has this package's tables and is not inside a transaction.
"""

from django_cfg.testing.contracts.accepting import AcceptingLaws
from django_cfg.testing.contracts.composing import ComposingLaws
from django_cfg.testing.contracts.dead_letters import DeadLetterLaws
from django_cfg.testing.contracts.operating import OperatingLaws
from django_cfg.testing.contracts.running import RunningLaws
from django_cfg.testing.contracts.sessions import SessionLaws
from django_cfg.testing.contracts.settling import SettlingLaws
from django_cfg.testing.contracts.tools import (
    PATIENCE_MS,
    QUEUE,
    Client,
    Failing,
    dead,
    dead_process,
    declare,
    done,
    ids,
    message,
    released,
    retry,
    settled_events,
    stats,
    unlogged,
    waiting,
    working,
)
from django_cfg.testing.contracts.transactions import TransactionLaws


class BrokerContract(AcceptingLaws, TransactionLaws, SettlingLaws, DeadLetterLaws, SessionLaws, OperatingLaws):
    """Laws of the store, driven exchange by exchange."""


class WorkerContract(RunningLaws, ComposingLaws):
    """Laws of running tasks, with a worker in this process."""


__all__ = [
    "PATIENCE_MS",
    "QUEUE",
    "BrokerContract",
    "Client",
    "Failing",
    "WorkerContract",
    "dead",
    "dead_process",
    "declare",
    "done",
    "ids",
    "message",
    "released",
    "retry",
    "settled_events",
    "stats",
    "unlogged",
    "waiting",
    "working",
]
