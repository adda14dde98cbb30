"""The state of a whole project: configuration, broker, workers, queues, leases."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

from django.core import checks
from django.db import connections

from django_cfg.redact import redact_url
from django_cfg.tasks import conf, queries
from django_cfg.tasks.brokers.base import EngineBroker
from django_cfg.tasks.brokers.contract import QueueStats, SessionInfo, shown
from django_cfg.tasks.brokers.process import identity, is_gone
from django_cfg.tasks.conf import TaskSettings
from django_cfg.tasks.doctor.fact import Fact, fail, ok, unknown, warn
from django_cfg.tasks.health import AWAY
from django_cfg.tasks.worker.registry import OUR_VERSION
from django_cfg.tasks.worker.roster import WorkerStats
from django_cfg.units import counted, humane, s_to_ms

LABEL = "django_cfg_tasks"
START_WORKERS = "python manage.py rundramatiq"
#: Warnings for a `migrate` that is still to come; whoever asks why nothing runs has the answer in them.
STOPPING = (f"{LABEL}.W003",)
SLOW_BROKER_MS = 100.0
MOST_SKEW_S = 5.0
#: How long after the end of a lease its claims may still stand there: the sweep takes turns of four seconds.
SWEEP_PATIENCE_S = 15.0
OUTBOX_PATIENCE_S = 15.0


def examine_project() -> list[Fact]:
    """All facts; a broker that does not answer is one of them."""
    settings, broker = conf.read(), queries.broker()
    facts = [versions(), enabled(settings), *system_checks()]
    reached = reaching(broker)
    facts.append(reached)
    if reached.finding != "fail":
        facts += [fact for look in LOOKS for fact in attempt(look, broker, settings)]
    return facts


def attempt(
    look: Callable[[EngineBroker, TaskSettings], Iterator[Fact]], broker: EngineBroker, settings: TaskSettings
) -> list[Fact]:
    """The facts of one look; one that nobody answers is a fact too."""
    try:
        return list(look(broker, settings))
    except AWAY as error:
        name = look.__name__.replace("_", " ")
        return [unknown(name, f"could not be looked at: {error}", "see that the database and the broker answer")]


def versions() -> Fact:
    """What runs here."""
    found = f"Python {platform.python_version()}, Django {version('django')}, Dramatiq {version('dramatiq')}"
    return ok("versions", f"{found}, django-cfg-tasks {OUR_VERSION}")


def enabled(settings: TaskSettings) -> Fact:
    if settings.enabled:
        return ok("enabled", "tasks are accepted")
    return fail("enabled", "TaskConfig(enabled=False): every send raises TasksDisabled", "set enabled=True")


def system_checks() -> list[Fact]:
    """The checks of this app, those that ask databases included: migrations, queues, connections, options."""
    try:
        found = checks.run_checks(databases=list(connections), include_deployment_checks=False)
    except AWAY as error:
        return [unknown("checks", f"the system checks could not run: {error}", "python manage.py check")]
    ours = [one for one in found if (one.id or "").startswith(LABEL) and not one.is_silenced()]
    if not ours:
        return [ok("checks", "the system checks of tasks find nothing: configuration, migrations, connections")]
    return [
        (fail if one.is_serious() or one.id in STOPPING else warn)(one.id or "check", one.msg, one.hint or "")
        for one in ours
    ]


def reaching(broker: EngineBroker) -> Fact:
    """Whether the broker answers, and how fast."""
    shown = redact_url(broker.settings.broker_url)
    began = time.perf_counter()
    try:
        broker.ping()
    except AWAY as error:
        cure = "start it, or correct broker_url; `broker_url` in TaskConfig says where messages wait"
        return fail("broker", f"{shown} does not answer: {error}", cure)
    took_ms = (time.perf_counter() - began) * 1000
    if took_ms > SLOW_BROKER_MS:
        return warn("broker", f"{shown} answers after {humane(took_ms)}", "see what slows it down, or the way to it")
    return ok("broker", f"{shown} answers after {humane(took_ms)}")


def server(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Persistence, eviction, age of the server, as far as it may be asked."""
    found = broker.server_warnings()
    for text in found:
        if text.startswith("not permitted"):
            yield unknown("server", text, "allow the user these commands, or ask whoever runs the server")
        else:
            yield warn("server", text)
    if not found:
        yield ok("server", "nothing about the broker's server puts tasks at risk")


def address(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Messages under the same name in another database: senders and workers disagree about the address."""
    for place in broker.elsewhere():
        yield warn(
            "address",
            f"{place} of the same server holds messages under the prefix {settings.redis_key_prefix!r} too",
            "give every process the same broker_url, or every project its own redis_key_prefix",
        )


def clock(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Leases and delays follow the broker's clock; logs and dates follow this one."""
    theirs = broker.clock_ms()
    if theirs is None:
        return
    skew_s = time.time() - theirs / 1000
    if abs(skew_s) > MOST_SKEW_S:
        text = (
            f"this host's clock is {humane(abs(skew_s) * 1000)} {'ahead of' if skew_s > 0 else 'behind'} the broker's"
        )
        yield warn("clock", text, "let NTP set both; delays and leases are not affected, times in logs are")
    else:
        yield ok("clock", "this host's clock and the broker's agree within 5 s")


def workers(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Who lives, who was lost, and whether they are of one release."""
    found = queries.workers()
    alive = [worker for worker in found if worker.is_alive]
    if not alive:
        yield fail("workers", "no worker lives: nothing runs", START_WORKERS)
    else:
        busy = sum(len(worker.running) for worker in alive)
        yield ok("workers", f"{len(alive)} workers live; {busy} of {sum(w.threads for w in alive)} threads are busy")
    if len(found) > len(alive):
        lost = ", ".join(f"{worker.host}:{worker.pid}" for worker in found if not worker.is_alive)
        yield warn("workers", f"lost: {lost}", "see its log for why it ended; its tasks run elsewhere")
    yield from _releases(alive)


def _releases(alive: Sequence[WorkerStats]) -> Iterator[Fact]:
    others = sorted({worker.version for worker in alive} - {OUR_VERSION})
    if others:
        text = f"workers of django-cfg-tasks {', '.join(others)} live beside {OUR_VERSION} here"
        yield warn("releases", text, "finish the deployment: restart the workers that are left")


def queues(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Every queue: who serves it, whether it is paused, what waits and what failed."""
    served = {queue for worker in queries.workers() if worker.is_alive for queue in worker.queues}
    paused = broker.paused_queues()
    for stats in queries.queue_stats():
        yield from _queue(stats, stats.queue in served, stats.queue in paused, settings)


def _queue(stats: QueueStats, is_served: bool, is_paused: bool, settings: TaskSettings) -> Iterator[Fact]:
    name, waiting = f"queue {stats.queue}", counted(stats.pending + stats.later, "task waits", "tasks wait")
    if is_paused:
        yield warn(name, f"is paused; {waiting}", f"actions.resume({stats.queue!r})")
    if not is_served:
        cure = f"{START_WORKERS} --queues {stats.queue}"
        yield (fail if stats.pending else warn)(name, f"no living worker serves it; {waiting}", cure)
    elif not is_paused:
        yield from _flow(name, stats, settings)
    if stats.dead:
        yield warn(
            name, counted(stats.dead, "dead letter"), f"python manage.py dramatiq_retry_failed --queue {stats.queue}"
        )


def _flow(name: str, stats: QueueStats, settings: TaskSettings) -> Iterator[Fact]:
    age_s, limit_s = stats.oldest_pending_age_s, settings.health_max_wait_s
    if age_s is not None and limit_s is not None and age_s > limit_s:
        text = f"the oldest of {stats.pending} waiting tasks waits for {humane(s_to_ms(age_s))}"
        yield warn(name, text, "start more workers or threads, or give slow tasks a queue of their own")
    else:
        yield ok(name, f"{stats.pending} wait, {shown(stats.running)} run, {stats.later} are due later")


def leases(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Claims of processes that are gone. A sweep gives them to others; it runs in every worker."""
    mine = identity()
    stuck = [one for one in broker.sessions() if one.held and _is_stuck(one, is_gone(one.process, mine))]
    for session in stuck:
        process = session.process
        text = f"{process.host}:{process.pid}, which is gone, holds {counted(session.held, 'task')}"
        yield fail("leases", text, f"any worker takes them over within seconds: {START_WORKERS}")
    if not stuck:
        yield ok("leases", "no task is held by a worker that is gone")


def outbox(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Messages that are committed and not yet with the broker."""
    for one in queries.outbox():
        if one.refused:
            text = f"{counted(one.refused, 'message')} in database {one.alias!r} cannot be published"
            yield fail("outbox", text, "each row of OutboxMessage says why; correct it and clear its `error`")
        if one.waiting:
            text = (
                f"{counted(one.waiting, 'message waits', 'messages wait')} in database {one.alias!r}, the oldest for "
            )
            is_late = one.oldest_age_s > OUTBOX_PATIENCE_S
            yield (warn if is_late else ok)(
                "outbox", text + humane(s_to_ms(one.oldest_age_s)), f"a keeper publishes them: {START_WORKERS}"
            )


def records(broker: EngineBroker, settings: TaskSettings) -> Iterator[Fact]:
    """Records that were never written. Their tasks ran, and the rollups counted them."""
    if dropped := queries.records_dropped():
        text = (
            counted(dropped, "record was", "records were")
            + " dropped: their database was too slow or away for too long"
        )
        yield warn("records", text, "a faster database, or fewer records: TaskConfig(records='finished' or 'failures')")


def _is_stuck(session: SessionInfo, is_dead: bool) -> bool:
    return is_dead or session.lease_left_s < -SWEEP_PATIENCE_S


LOOKS = (server, address, clock, workers, queues, leases, outbox, records)
