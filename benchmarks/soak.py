"""`python3 dev.py soak`: real workers under load, a random fault every few seconds, and a ledger of its own.

The producer writes `intent` before and `accepted` after each send, tasks write `start`, `fail` and `end`; neither
the broker nor a database knows of this file. After the last fault everything gets time to heal; then:

    lost     accepted, and neither ended nor among the dead letters
    phantom  started, and nobody wanted to send it
    stuck    still in the broker
    extra    starts beyond one for the message and one for each failed attempt
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.contract.mariadb_server import OwnMariaDB, own_mariadb
from tests.contract.postgres_server import OwnPostgres, own_postgres
from tests.contract.rabbitmq_server import OwnRabbit, own_rabbit
from tests.contract.redis_server import OwnServer, own_server

LEASE_S = 5.0
PROCESSES, THREADS = 2, 4
#: From the last fault to the count: lease, sweep, backoff and what two cores need.
HEAL_S = 90.0
PAUSE_S = (5.0, 20.0)

SETTINGS = """
import json, os
SECRET_KEY = "only for this run"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_cfg.apps.tasks", "load"]
DATABASES = json.loads(os.environ["SOAK_DATABASES"])
DRAMATIQ_BROKER = {"OPTIONS": {"url": os.environ["SOAK_BROKER"]}}
DJANGO_CFG_TASKS = {
    "lease_ms": 5000, "shutdown_timeout_ms": 5000, "min_backoff": 200, "max_backoff": 1000,
    "redis_key_prefix": os.environ["SOAK_PREFIX"],
}
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "soak_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
TASKS = '''
import os
import time

import dramatiq
from dramatiq.middleware import CurrentMessage


def note(word, message_id):
    line = f"{word} {message_id}\\n".encode()
    fd = os.open(os.environ["SOAK_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line)
    os.close(fd)


def own_id():
    return CurrentMessage.get_current_message().message_id


@dramatiq.actor(max_deliveries=50)
def quick():
    note("start", own_id())
    note("end", own_id())


@dramatiq.actor(max_deliveries=50)
def slow(ms):
    note("start", own_id())
    time.sleep(ms / 1000)
    note("end", own_id())


@dramatiq.actor(max_deliveries=50)
def large(size):
    """Its outcome is larger than a slot of the ledger."""
    note("start", own_id())
    note("end", own_id())
    return "x" * size


@dramatiq.actor(max_deliveries=50, max_retries=20)
def flaky():
    message = CurrentMessage.get_current_message()
    note("start", message.message_id)
    if not message.options.get("retries"):
        note("fail", message.message_id)
        raise ValueError("the first attempt fails")
    note("end", message.message_id)


@dramatiq.actor(max_deliveries=2, time_limit=1000, hard_time_limit_ms=2000)
def hung():
    note("doomed", own_id())
    time.sleep(3600)


@dramatiq.actor(max_deliveries=2)
def greedy():
    """What the kernel does to a process that takes too much memory."""
    note("doomed", own_id())
    taken = bytearray(200 * 1024 * 1024)
    os.kill(os.getpid(), 9)
    return len(taken)
'''
PRODUCE = """
import random, sys, time
from pathlib import Path
import django
django.setup()
import dramatiq
from load.tasks import flaky, greedy, hung, large, note, quick, slow

home, rate, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
dice, broker = random.Random(seed), dramatiq.get_broker()
makers = (
    (12, quick.message),
    (5, lambda: slow.message(dice.randint(20, 400))),
    (2, flaky.message),
    (1, lambda: large.message(20_000)),
)
weighted = [make for weight, make in makers for _ in range(weight)]


def send(message):
    note("intent", message.message_id)
    try:
        broker.enqueue(message)
    except Exception as error:
        note("refused", message.message_id)
        time.sleep(0.2)
    else:
        note("accepted", message.message_id)


while not (home / "enough").exists():
    send(dice.choice(weighted)())
    for name, task in (("hung", hung), ("greedy", greedy)):
        if (home / name).exists():
            (home / name).unlink()
            send(task.message())
    time.sleep(1 / rate)
"""
COUNT = """
import django, json
django.setup()
import dramatiq
from django_cfg.tasks.brokers.contract import DeadFilter
broker = dramatiq.get_broker()
stats = broker.queue_stats()
stuck = sum(s.pending + s.scheduled + (s.running or 0) + (s.retrying or 0) for s in stats)
dead = [letter.message_id for letter in broker.dead_letters(DeadFilter(everything=True), 1_000_000)]
print(json.dumps([stuck, dead]))
"""


@dataclass
class Place:
    """What a run needs: where its broker and its databases are, and how to restart the former."""

    databases: dict[str, Any]
    broker: str
    restart: Callable[[float], None] | None = None


# -- brokers: one function a kind -----------------------------------------------------------------------------


def sqlite_database(home: Path) -> dict[str, Any]:
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(home / "db.sqlite3"), "OPTIONS": options}


@contextmanager
def on_sqlite(home: Path) -> Iterator[Place]:
    yield Place({"default": sqlite_database(home)}, "database://default")


@contextmanager
def on_postgres(home: Path) -> Iterator[Place]:
    """A server of its own; stopping it as a power failure does and starting it again is one of the faults."""
    with own_postgres() as server:
        yield Place({"default": server.database}, "database://default", partial(_restart, server))


@contextmanager
def on_mariadb(home: Path) -> Iterator[Place]:
    """As on PostgreSQL; its server is killed."""
    with own_mariadb() as server:
        yield Place({"default": server.database}, "database://default", partial(_restart, server))


@contextmanager
def on_rabbitmq(home: Path) -> Iterator[Place]:
    """A server of its own, killed and started again; dead letters and counts of deaths are in SQLite beside it."""
    (home / "rabbitmq").mkdir()
    with own_rabbit(home / "rabbitmq") as server:
        yield Place({"default": sqlite_database(home)}, server.url, partial(_restart, server))


@contextmanager
def on_redis(home: Path) -> Iterator[Place]:
    """A server of its own that writes everything to disk; killing and starting it again is one of the faults."""
    (home / "redis").mkdir()
    with own_server(home / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield Place({"default": sqlite_database(home)}, server.url, partial(_restart, server))


def _restart(server: OwnServer | OwnPostgres | OwnMariaDB | OwnRabbit, pause_s: float) -> None:
    server.kill()
    time.sleep(pause_s)
    server.start()


KINDS = {
    "sqlite": on_sqlite,
    "postgres": on_postgres,
    "mariadb": on_mariadb,
    "redis": on_redis,
    "rabbitmq": on_rabbitmq,
}


@contextmanager
def on_url(url: str, home: Path) -> Iterator[Place]:
    """A broker that somebody else runs."""
    yield Place({"default": sqlite_database(home)}, url)


# -- the run ----------------------------------------------------------------------------------------------------


@dataclass
class Soak:
    """One run: a project, its workers, its producer, and the faults that came over them."""

    home: Path
    place: Place
    dice: random.Random
    faults: Counter[str] = field(default_factory=Counter)
    allowed: int = 0
    starts: int = 0
    tasks: str = TASKS
    produce: str = PRODUCE
    count_code: str = COUNT

    def __post_init__(self) -> None:
        self.write_project()
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "soak_settings",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.home), os.environ.get("PYTHONPATH")])),
            "SOAK_DATABASES": json.dumps(self.place.databases),
            "SOAK_BROKER": self.place.broker,
            "SOAK_PREFIX": f"soak-{os.getpid()}",
            "SOAK_LEDGER": str(self.home / "ledger"),
        }
        self.prepare()

    def write_project(self) -> None:
        app = self.home / "load"
        app.mkdir()
        (app / "__init__.py").touch()
        (app / "tasks.py").write_text(TASKS)
        (self.home / "soak_settings.py").write_text(SETTINGS)
        (self.home / "manage.py").write_text(MANAGE)
        (self.home / "produce.py").write_text(self.produce)

    def prepare(self) -> None:
        self._python("manage.py", "migrate", "-v0")

    def _python(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.home, env=self.environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed:\n{done.stderr}")
        return done.stdout

    # -- workers and producer

    def start_workers(self) -> None:
        with (self.home / f"log{self.starts}").open("wb") as log:
            self.workers = subprocess.Popen(
                self.command(),
                cwd=self.home,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "rundramatiq", "-p", str(PROCESSES), "-t", str(THREADS)]

    def start_producer(self, rate: float) -> None:
        command = [sys.executable, "produce.py", str(self.home), str(rate), str(self.dice.randrange(2**31))]
        self.producer = subprocess.Popen(command, cwd=self.home, env=self.environment)

    def below(self, name: str) -> list[int]:
        """Processes of the supervisor by their name."""
        return [pid for pid in children_of(self.workers.pid) if _comm(pid).startswith(name)]

    # -- faults: each names how many tasks it may repeat

    def kill_worker(self) -> int:
        return self._kill_one("worker", THREADS)

    def kill_keeper(self) -> int:
        return self._kill_one("keeper", 0)

    def _kill_one(self, name: str, costs: int) -> int:
        pids = self.below(name)
        if pids:
            _send(self.dice.choice(pids), signal.SIGKILL)
        return costs

    def kill_supervisor(self) -> int:
        self.workers.kill()
        self.workers.wait()
        self.start_workers()
        return PROCESSES * THREADS

    def freeze_worker(self) -> int:
        pids = self.below("worker")
        if pids:
            pid = self.dice.choice(pids)
            _send(pid, signal.SIGSTOP)
            time.sleep(self.dice.uniform(0.5, 2.5) * LEASE_S)
            _send(pid, signal.SIGCONT)
        return THREADS

    def freeze_all(self) -> int:
        os.killpg(self.workers.pid, signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.5, 2.5) * LEASE_S)
        os.killpg(self.workers.pid, signal.SIGCONT)
        return PROCESSES * THREADS

    def stop_and_start(self) -> int:
        self.workers.terminate()
        self.workers.wait(60)
        self.start_workers()
        return 0

    def new_code(self) -> int:
        self.workers.send_signal(signal.SIGHUP)
        return 0

    def hung_task(self) -> int:
        (self.home / "hung").touch()
        return 2 * THREADS

    def greedy_task(self) -> int:
        (self.home / "greedy").touch()
        return 2 * THREADS

    def restart_broker(self) -> int:
        assert self.place.restart is not None
        self.place.restart(self.dice.uniform(0.5, 6.0))
        return PROCESSES * THREADS

    def all_faults(self) -> list[Callable[[], int]]:
        own = [self.restart_broker] if self.place.restart is not None else []
        workers = [self.kill_worker, self.kill_keeper, self.kill_supervisor, self.freeze_worker, self.freeze_all]
        return [*workers, self.stop_and_start, self.new_code, self.hung_task, self.greedy_task, *own]

    def trouble(self, until: float) -> None:
        """Faults in random order, each kind as often as the others, until the time is over."""
        waiting: list[Callable[[], int]] = []
        while time.monotonic() < until:
            time.sleep(self.dice.uniform(*PAUSE_S))
            if not waiting:
                waiting = self.dice.sample(self.all_faults(), len(self.all_faults()))
            fault = waiting.pop()
            self.faults[fault.__name__] += 1
            self.allowed += fault()
            self.after_fault(fault.__name__)
            print(f"{time.strftime('%H:%M:%S')} {fault.__name__}", flush=True)

    def after_fault(self, fault: str) -> None:
        if self.workers.poll() is not None:
            raise RuntimeError(f"rundramatiq ended by itself with {self.workers.returncode} after {fault}")

    # -- the end

    def heal(self) -> None:
        """Send nothing more; wait until the broker is empty, or the patience is over."""
        (self.home / "enough").touch()
        self.producer.wait(60)
        deadline = time.monotonic() + HEAL_S
        while time.monotonic() < deadline and self.left()[0]:
            time.sleep(1)

    def left(self) -> tuple[int, list[str]]:
        stuck, dead = json.loads(self._python("-c", self.count_code))
        return stuck, dead

    def count(self) -> dict[str, int]:
        words: dict[str, Counter[str]] = {}
        for line in (self.home / "ledger").read_text().splitlines():
            word, message_id = line.split()
            words.setdefault(word, Counter())[message_id] += 1
        got = {word: words.get(word, Counter()) for word in ("intent", "accepted", "start", "fail", "end", "doomed")}
        stuck, dead = self.left()
        extra = {i: n - 1 - got["fail"][i] for i, n in got["start"].items()}
        return {
            "accepted": len(got["accepted"]),
            "ended": len(got["end"]),
            "dead": len(dead),
            "lost": len(set(got["accepted"]) - set(got["end"]) - set(dead)),
            "phantom": len((set(got["start"]) | set(got["doomed"])) - set(got["intent"])),
            "stuck": stuck,
            "extra": sum(n for n in extra.values() if n > 0),
            "allowed": self.allowed,
        }

    def finish(self) -> None:
        """End what is left: the producer, the last workers, and those of others that outlived their supervisor."""
        if self.producer.poll() is None:
            self.producer.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.workers.pid, signal.SIGCONT)
        self.workers.terminate()
        try:
            self.workers.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.workers.pid, signal.SIGKILL)
        for pid in working_in(self.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def working_in(folder: Path) -> list[int]:
    """Processes whose working directory is this one; only those of this run have it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if path.readlink() == folder:
                found.append(int(path.parent.name))
    return found


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="dev.py soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=30, help="messages a second")
    parser.add_argument("--broker", default="sqlite", help=f"{', '.join(KINDS)}, or a URL")
    parser.add_argument("--stock", action="store_true", help="stock Dramatiq instead, on `--broker redis`")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the ledger and the logs")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="django-cfg-soak-"))
    print(f"{options.minutes:g} minutes on {options.broker}, seed {options.seed}, in {home}", flush=True)
    kind = KINDS.get(options.broker)
    with kind(home) if kind else on_url(options.broker, home) as place:
        found = run(make(options)(home, place, random.Random(options.seed)), options)
    is_good = found["lost"] == found["phantom"] == found["stuck"] == 0 and found["extra"] <= found["allowed"]
    if is_good and not options.keep:
        subprocess.run(["rm", "-r", str(home)], check=True)
    sys.exit(0 if is_good else 1)


def make(options: argparse.Namespace) -> type[Soak]:
    if not options.stock:
        return Soak
    from benchmarks.soak_stock import StockSoak

    return StockSoak


def run(soak: Soak, options: argparse.Namespace) -> dict[str, int]:
    soak.start_workers()
    soak.start_producer(options.rate)
    try:
        soak.trouble(time.monotonic() + options.minutes * 60)
        soak.heal()
        found = soak.count()
    finally:
        soak.finish()
    print("faults: " + ", ".join(f"{number} {name}" for name, number in sorted(soak.faults.items())))
    print("| " + " | ".join(found) + " |")
    print("|" + " --- |" * len(found))
    print("| " + " | ".join(map(str, found.values())) + " |", flush=True)
    return found


if __name__ == "__main__":
    main()
