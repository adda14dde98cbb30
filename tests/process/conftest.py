"""Generated projects with real workers. Tasks write a ledger that neither the broker nor a database knows of."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from django_cfg.tasks.brokers.rabbitmq import topology
from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.testing.waiting import eventually
from tests.contract.redis_server import own_server

#: How much work the load tests do; 1 fits a laptop, a nightly run may take 20.
SCALE = int(os.environ.get("PROCESS_TEST_SCALE", "1"))

# Ignored ones stay so in everything that is started: under nohup, or in the background of a script.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """
from pathlib import Path
HERE = Path(__file__).parent
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_cfg.apps.tasks", "work"]
DATABASES = {{"default": {database!r}}}
DRAMATIQ_BROKER = {{"OPTIONS": {{"url": {url!r}}}}}
DJANGO_CFG_TASKS = {options!r}
"""

TASKS = '''
import ctypes, os, resource, time
from pathlib import Path

import dramatiq
from dramatiq.middleware import CurrentMessage

HERE = Path(__file__).parent.parent


def note(word):
    """One whole line at once: O_APPEND keeps the lines of many processes apart."""
    message = CurrentMessage.get_current_message()
    line = f"{word} {message.message_id} {message.actor_name} {os.getpid()} {time.time():.3f}\\n"
    fd = os.open(HERE / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


@dramatiq.actor
def quick(secret=None):
    note("start")
    note("end")


@dramatiq.actor
def short(ms):
    note("start")
    time.sleep(ms / 1000)
    note("end")


@dramatiq.actor
def gated(name):
    """Runs until its gate is opened."""
    note("start")
    while not (HERE / name).exists():
        time.sleep(0.01)
    note("end")


@dramatiq.actor
def killer():
    note("start")
    os.kill(os.getpid(), 9)


@dramatiq.actor(max_deliveries=2)
def crasher():
    """The interpreter itself dies of it."""
    note("start")
    ctypes.string_at(0)


@dramatiq.actor(max_retries=1)
def bomb():
    """Takes memory until there is no more; its process may have 64 MiB beyond what it has."""
    note("start")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 64 * 1024 * 1024, hard))
    held = []
    while True:
        held.append(bytearray(1024 * 1024))


@dramatiq.actor(time_limit=300, max_retries=0)
def close_to_its_limit(ms):
    """Ends about when it is interrupted, in either order."""
    note("start")
    end = time.monotonic() + ms / 1000
    while time.monotonic() < end:
        time.sleep(0.0002)
    note("end")


@dramatiq.actor(on_lost="dead_letter")
def fragile():
    note("start")
    os.kill(os.getpid(), 9)


@dramatiq.actor
def careful():
    """Kills its process the first time."""
    note("start")
    if CurrentMessage.get_current_message().redelivered:
        note("redelivered")
    else:
        os.kill(os.getpid(), 9)


@dramatiq.actor(time_limit=500, hard_time_limit_ms=1000, max_deliveries=2)
def hung():
    """No exception reaches it."""
    note("start")
    time.sleep(3600)


@dramatiq.actor
def greedy(name):
    """Keeps 64 MiB when it has ended."""
    note("start")
    globals()[name] = bytearray(os.urandom(64)) * (1024 * 1024)
    note("end")


@dramatiq.actor
def selfish(ms):
    """Holds the interpreter lock: no other thread of the process does anything."""
    note("start")
    ctypes.PyDLL(None).usleep(ms * 1000)
    note("end")


@dramatiq.actor(max_retries=2, min_backoff=4000, max_backoff=4000)
def failing(secret):
    note("start")
    raise ValueError("on purpose")


@dramatiq.actor(max_retries=0)
def ailing():
    """Fails until somebody heals it."""
    note("start")
    if not (HERE / "healed").exists():
        raise ValueError("not healed")
    note("end")


@dramatiq.actor(queue_name="mail")
def mail():
    note("start")
    note("end")


@dramatiq.actor(queue_name="exports")
def export():
    note("start")
    note("end")
'''

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}


class Line:
    """One line of the ledger."""

    def __init__(self, text: str) -> None:
        self.word, self.id, self.task, pid, at = text.split()
        self.pid, self.at = int(pid), float(at)


class Workers:
    """One `rundramatiq` and the processes below it."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes], log: Path) -> None:
        self.project, self.process, self._log = project, process, log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> list[int]:
        """The processes that run tasks."""
        return self.named("worker")

    def named(self, name: str) -> list[int]:
        """Processes below the supervisor by their names: `worker 1`, `keeper`, `metrics`."""
        return [pid for pid in children_of(self.pid) if _comm(pid).startswith(name)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, within_s: float = 15) -> int:
        return self.process.wait(within_s)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()


class Project:
    """A Django project in a directory of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started: list[Workers] = []
        self._lines: list[Line] = []
        self._read_bytes = 0

    def write(self, database: dict[str, Any] | None = None, url: str = "database://default", **options: Any) -> Project:
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.path / "db"), "OPTIONS": SQLITE_OPTIONS}
        given = {"processes": 2, "threads": 2, "min_backoff": 100, "shutdown_timeout_ms": 10_000, **options}
        (self.path / "work").mkdir()
        (self.path / "work" / "__init__.py").touch()
        (self.path / "work" / "tasks.py").write_text(TASKS)
        (self.path / "manage.py").write_text(MANAGE)
        (self.path / "settings.py").write_text(SETTINGS.format(database=database or sqlite, url=url, options=given))
        self.manage("migrate", "-v0")
        return self

    def _env(self, **more: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
        return {**clean, "PYTHONUNBUFFERED": "1", **more}

    def manage(
        self, *words: str, check: bool = True, stdout: int = subprocess.PIPE, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=self.path,
            env=self._env(**env),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=check,
        )

    def run(self, code: str) -> list[str]:
        """Run Python inside the project; returns what it printed."""
        setup = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'; django.setup()\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{setup}import dramatiq\nfrom work.tasks import *\n{code}"],
            cwd=self.path,
            env=self._env(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def send(self, *calls: str) -> list[str]:
        """Ids of the messages that calls like `quick.send()` return."""
        return self.run("".join(f"print({call}.message_id)\n" for call in calls))

    def counts(self) -> Counter[str]:
        """Over all queues: pending, running, dead ...; only what is there."""
        code = (
            "from django_cfg.tasks import queries\nfrom dataclasses import asdict\n"
            "for s in queries.queue_stats():\n"
            "    for k, v in asdict(s).items():\n"
            "        if isinstance(v, int): print(f'{k}={v}')"
        )
        total: Counter[str] = Counter()
        for word in self.run(code):
            name, _, number = word.partition("=")
            total[name] += int(number)
        return +total

    def ledger(self) -> list[Line]:
        """All lines so far; each is read once, because tests ask often."""
        with contextlib.suppress(FileNotFoundError), (self.path / "ledger").open("rb") as file:
            file.seek(self._read_bytes)
            new, newline, _ = file.read().rpartition(b"\n")
            self._read_bytes += len(new + newline)
            self._lines += [Line(text) for text in new.decode().splitlines()]
        return self._lines

    def ids(self, word: str) -> Counter[str]:
        """How often each message started or ended."""
        return Counter(line.id for line in self.ledger() if line.word == word)

    def pids(self, word: str) -> list[int]:
        return [line.pid for line in self.ledger() if line.word == word]

    def open_gate(self, name: str = "gate") -> None:
        (self.path / name).touch()

    def start(self, *words: str, until: Callable[[Workers], object] | None = None, **env: str) -> Workers:
        """Start `rundramatiq` in a process group of its own and wait until its workers are there."""
        log = self.path / f"log{len(self._started)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "rundramatiq", *words],
                cwd=self.path,
                env=self._env(**env),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        workers = Workers(self, process, log)
        self._started.append(workers)
        eventually(lambda: (until or Workers.children)(workers), within_s=60)  # a busy machine is slow to load
        return workers

    def finish(self) -> None:
        """Kill what is left; its pids are those of the session that we made."""
        for workers in self._started:
            left = session_of(workers.pid)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            workers.process.wait(10)


def _stat(pid: int) -> list[str]:
    """Fields of a process after its name: state, parent, group, session ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _living(wanted: Callable[[list[str]], bool]) -> list[int]:
    pids = [int(p.name) for p in Path("/proc").glob("[0-9]*")]
    return sorted(pid for pid in pids if (found := _stat(pid)) and found[0] not in "ZX" and wanted(found))


def children_of(pid: int) -> list[int]:
    return _living(lambda fields: fields[1] == str(pid))


def session_of(pid: int) -> list[int]:
    """Everything that was started below a process with a session of its own."""
    return _living(lambda fields: fields[3] == str(pid))


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    return bool(fields := _stat(pid)) and fields[0] not in "ZX"


def faketime_library() -> str:
    """Moves the clock of one process tree, as NTP or an administrator would."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found and os.environ.get("CI") == "true":
        pytest.fail("libfaketime is missing; in CI its test must run", pytrace=False)
    if not found:
        pytest.skip("needs libfaketime (apt install faketime)")
    return str(found[0])


#: `time.sleep` waits for a moment of the monotonic clock, which libfaketime 0.9 takes for one of the clock that it
#: moves: each sleep fails with EINVAL. A `select` waits for a span, as Python itself did before 3.11.
SLEEP_BY_SELECT = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


def other_clock(project: Project, **libfaketime: str) -> dict[str, str]:
    """The environment of processes whose wall clock is another one, while their monotonic clock is as it was."""
    (project.path / "clock").mkdir(exist_ok=True)
    (project.path / "clock" / "sitecustomize.py").write_text(SLEEP_BY_SELECT)
    paths = [str(project.path / "clock"), os.environ.get("PYTHONPATH", "")]
    return {
        "LD_PRELOAD": faketime_library(),
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **libfaketime,
    }


@contextlib.contextmanager
def own_database() -> Iterator[dict[str, Any]]:
    """A database of its own on the PostgreSQL server."""
    import psycopg

    where = settings.DATABASES["postgres"]
    name = f"workers_{uuid.uuid4().hex[:12]}"
    server = {"host": where["HOST"], "port": where["PORT"], "user": where["USER"], "password": where["PASSWORD"]}
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield {k: where[k] for k in ("ENGINE", "HOST", "PORT", "USER", "PASSWORD")} | {"NAME": name}
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def postgres() -> Iterator[dict[str, Any]]:
    with own_database() as database:
        yield database


@contextlib.contextmanager
def own_schema() -> Iterator[dict[str, Any]]:
    """A database of its own on the MariaDB server."""
    import MySQLdb

    where = settings.DATABASES["mysql"]
    name = f"workers_{uuid.uuid4().hex[:12]}"
    server = {"host": where["HOST"], "port": where["PORT"], "user": where["USER"], "passwd": where["PASSWORD"]}
    with contextlib.closing(MySQLdb.connect(**server, autocommit=True)) as connection:
        connection.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield {k: where[k] for k in ("ENGINE", "HOST", "PORT", "USER", "PASSWORD")} | {"NAME": name}
        finally:
            connection.query(f"DROP DATABASE {name}")


@contextlib.contextmanager
def on_redis(directory: Path) -> Iterator[dict[str, Any]]:
    (directory / "redis").mkdir()
    with own_server(directory / "redis") as server:
        yield {"url": server.url}


@contextlib.contextmanager
def on_postgres(directory: Path) -> Iterator[dict[str, Any]]:
    with own_database() as database:
        yield {"database": database}


@contextlib.contextmanager
def on_mariadb(directory: Path) -> Iterator[dict[str, Any]]:
    with own_schema() as database:
        yield {"database": database}


@contextlib.contextmanager
def on_rabbitmq(directory: Path) -> Iterator[dict[str, Any]]:
    """The server of all tests; names below a prefix of its own."""
    prefix = f"workers-{uuid.uuid4().hex[:12]}"
    yield {"url": settings.RABBITMQ_URL, "rabbitmq_prefix": prefix}
    with contextlib.closing(Link(address(settings.RABBITMQ_URL))) as link:
        link.connect()
        link.calls(topology.removal(topology.Names(prefix), ["default", "exports", "mail"]))


@contextlib.contextmanager
def on_sqlite(directory: Path) -> Iterator[dict[str, Any]]:
    yield {}


#: What a project is written with, for each kind of broker that real workers are tested on. `dev.py processes` takes the
#: first, `dev.py faults` all of them.
STORES = {
    "sqlite": on_sqlite,
    "postgres": on_postgres,
    "mariadb": on_mariadb,
    "redis": on_redis,
    "rabbitmq": on_rabbitmq,
}
OTHERS = [pytest.param(name, marks=[getattr(pytest.mark, name), pytest.mark.faults]) for name in list(STORES)[1:]]
#: On RabbitMQ the lease is the connection of the process itself, and no keeper can renew it.
WITH_LEASES = ["sqlite", *(one for one in OTHERS if one.values[0] != "rabbitmq")]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.finish()


@pytest.fixture(params=["sqlite", *OTHERS])
def store(
    request: pytest.FixtureRequest, project: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Arguments of `Project.write`, once for each kind of broker."""
    with STORES[request.param](tmp_path_factory.mktemp("store")) as arguments:
        yield arguments
        project.finish()  # else a worker makes anew what is taken away here
