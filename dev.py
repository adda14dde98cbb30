#!/usr/bin/env python3
"""The developer's one entry: `python3 dev.py VERB`. Standard library only, so a bare Python is enough.

The first use of a verb makes a virtual environment beside this file and installs the project into it; later
uses notice by a stamp (a hash of pyproject.toml) that nothing is to be done.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: For the demo alone, and for everything: the servers that the tests start weigh more than all the rest.
LIGHT = "postgres,redis"
EXTRAS = "test,lint,postgres,redis,rabbitmq,prometheus,servers,hypercorn,daphne,flower,django-q2,huey,rq"
#: The driver of MySQL and MariaDB is compiled on installation, so it is there only where its C library is.
COMPILED = "mysql"
C_LIBRARIES = ("libmariadb", "mysqlclient")
MINIMUM = (3, 11)


# -- the environment ---------------------------------------------------------------------------------------


def env_dir(options: argparse.Namespace) -> Path:
    """One environment per purpose, interpreter and Django line, so that none disturbs daily work."""
    parts = [".venv", "bench"] if options.verb == "bench" else [".venv"]
    if options.python:
        parts.append(options.python)
    if options.django:
        parts.append(f"django{options.django}")
    return HERE / "-".join(parts)


def interpreter(options: argparse.Namespace) -> str:
    """The Python to build the environment with: the one asked for, or the one that runs this file."""
    if not options.python:
        if sys.version_info < MINIMUM:
            sys.exit(f"dev.py needs Python {MINIMUM[0]}.{MINIMUM[1]} or newer, got {sys.version.split()[0]}.")
        return sys.executable
    found = shutil.which(f"python{options.python}")
    if found is None:
        sys.exit(f"python{options.python} is not on PATH; install it or leave out --python.")
    return found


def requirements(options: argparse.Namespace, extras: str) -> list[str]:
    wanted = ["-e", f"{HERE}[{extras}]"]
    if options.django:
        wanted.append(f"django~={options.django}.0")
    if options.django in (None, "5.2") and not options.python:
        wanted.append("django-tasks>=0.12,<0.13")
    return wanted


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_venv(venv: Path, python: str) -> list[str]:
    """Create the environment and return the installer's command: uv, else its pip, else the outer pip."""
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--clear", "--python", python, str(venv)])
        return ["uv", "pip", "install", "--quiet", "--python", str(venv_python(venv))]
    run([python, "-m", "venv", "--clear", "--without-pip", str(venv)])
    if subprocess.run([str(venv_python(venv)), "-m", "ensurepip"], capture_output=True).returncode == 0:
        return [str(venv_python(venv)), "-m", "pip", "install", "--quiet"]
    # Debian without python3-venv has no ensurepip, but its pip can install into another environment.
    return [python, "-m", "pip", "--python", str(venv_python(venv)), "install", "--quiet"]


def fingerprint(options: argparse.Namespace, extras: str) -> str:
    text = (HERE / "pyproject.toml").read_text() + " ".join(requirements(options, extras)) + str(HERE)
    return hashlib.sha256(text.encode()).hexdigest()


def all_extras() -> str:
    """Everything that this machine can install."""
    config = shutil.which("pkg-config")
    found = config and any(subprocess.run([config, "--exists", name]).returncode == 0 for name in C_LIBRARIES)
    return f"{EXTRAS},{COMPILED}" if found else EXTRAS


def ready(options: argparse.Namespace, extras: str | None = None) -> Path:
    """Make sure that the environment exists and fits pyproject.toml; return its Python."""
    venv = env_dir(options)
    stamp = venv / ".stamp"
    extras = extras or all_extras()
    good = {fingerprint(options, extras), fingerprint(options, all_extras())}
    if not (stamp.exists() and stamp.read_text() in good):
        print(f"Setting up {venv.name} (once; a minute or less) ...", flush=True)
        run([*make_venv(venv, interpreter(options)), *requirements(options, extras)])
        stamp.write_text(fingerprint(options, extras))
    return venv_python(venv)


def run(command: list[str], **more: object) -> None:
    done = subprocess.run(command, cwd=HERE, **more)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(done.returncode)


# -- the verbs ---------------------------------------------------------------------------------------------


def setup(options: argparse.Namespace, rest: list[str]) -> None:
    """Make the environment and stop."""
    print(f"Ready: {ready(options)}")


def demo(options: argparse.Namespace, rest: list[str]) -> None:
    """Run the sample project's background work from a clean state (--docs DIR, --broker URL)."""
    python = ready(options, LIGHT)
    os.execv(python, [str(python), str(HERE / "examples" / "shop" / "demo.py"), *rest])


def test(options: argparse.Namespace, rest: list[str]) -> None:
    """Run the quick tests; what follows goes to pytest. Services that do not answer are skipped unless CI=true."""
    pytest(options, "-m", "not process and not servers and not faults", "--ignore", "tests/docs", *rest)


def processes(options: argparse.Namespace, rest: list[str]) -> None:
    """Run the tests that start real workers, kill, stop and reload them."""
    pytest(options, "tests/process", "-m", "process and not servers and not faults", *rest)


def servers(options: argparse.Namespace, rest: list[str]) -> None:
    """Start every web server and foreign worker that prodserver knows, and end them."""
    pytest(options, "-m", "servers", *rest)


def docs(options: argparse.Namespace, rest: list[str]) -> None:
    """Execute every block of the README and of docs/."""
    pytest(options, "tests/docs", *rest)


def pytest(options: argparse.Namespace, *words: str) -> None:
    run([str(ready(options)), "-m", "pytest", "-n", "2", "--dist", "worksteal", *words])


def conformance(options: argparse.Namespace, rest: list[str]) -> None:
    """Run Django's and django-tasks-db's tests of tasks against our backend (6.1; downloads their sources)."""
    newer = None if sys.version_info >= (3, 12) else "3.12"  # Django 6 wants it
    asked = {"django": options.django or "6.1", "python": options.python or newer}
    python = ready(argparse.Namespace(**{**vars(options), **asked}))
    ask = "import django; print(django.__version__)"
    version = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        # With the outer pip: an environment need not have one.
        sources = ["--quiet", "--no-deps", "--dest", folder, "--no-binary", "django,django-tasks-db"]
        sources += [f"django=={version}", "django-tasks-db==0.13.0"]
        run([sys.executable, "-m", "pip", "download", "--ignore-requires-python", *sources])
        run([str(python), "-m", "tests.conformance.run", folder, *rest])


def check(options: argparse.Namespace, rest: list[str]) -> None:
    """Format, lint, types, the law of the house and the migrations."""
    python = ready(options)
    bin_dir = python.parent
    places = [name for name in ("src", "tests", "examples", "benchmarks", "dev.py") if (HERE / name).exists()]
    run([str(bin_dir / "ruff"), "format", *([] if "--fix" in rest else ["--check"]), *places])
    run([str(bin_dir / "ruff"), "check", *(["--fix"] if "--fix" in rest else []), *places])
    run([str(bin_dir / "mypy")])
    run([str(bin_dir / "lint-imports"), "--no-cache"])
    clean = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(HERE)}
    run([str(python), "-m", "django", "makemigrations", "--check", "--dry-run"], env=clean)


def faults(options: argparse.Namespace, rest: list[str]) -> None:
    """Kill, freeze and reload real workers, more often than `processes` does (PROCESS_TEST_SCALE, default 5)."""
    os.environ.setdefault("PROCESS_TEST_SCALE", "5")
    pytest(options, "tests/process", "-m", "(process or faults) and not servers", *rest)


def soak(options: argparse.Namespace, rest: list[str]) -> None:
    """Workers under load with a fault every few seconds (--minutes N --seed S --broker NAME|URL)."""
    run([str(ready(options)), "-m", "benchmarks.soak", *rest])


def bench(options: argparse.Namespace, rest: list[str]) -> None:
    """Measure enqueue and drain of each broker; `bench startup|workers|records|recording|schedules` measure those."""
    python, module = ready(options, f"{all_extras()},bench"), "benchmarks.run"
    if rest[:1] in ([name] for name in ("startup", "workers", "records", "recording", "schedules")):
        module, rest = f"benchmarks.{rest[0]}", rest[1:]
    run([str(python), "-m", module, *rest])


VERBS = {f.__name__: f for f in (setup, demo, test, processes, servers, docs, conformance, check, faults, soak, bench)}


def main() -> None:
    lines = "\n".join(f"  {name:11} {(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description="Everything a developer runs.\n\n" + lines,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.add_argument("--python", help="build the environment with this Python, for example 3.13")
    parser.add_argument("--django", help="install this Django line, for example 6.1")
    options, rest = parser.parse_known_args()
    # Else every one of the hundreds of processes that tests and benchmarks start would compile all it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    VERBS[options.verb](options, rest)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
