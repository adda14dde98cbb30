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
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: For the demo alone, and for everything: the servers that the tests start weigh more than all the rest.
LIGHT = "postgres,redis"
EXTRAS = "test,lint,postgres,redis,prometheus,servers,hypercorn,daphne,flower,django-q2,huey"
MINIMUM = (3, 11)


# -- the environment ---------------------------------------------------------------------------------------


def env_dir(options: argparse.Namespace) -> Path:
    """One environment per interpreter and Django line, so that a matrix never disturbs daily work."""
    parts = [".venv"]
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


def ready(options: argparse.Namespace, extras: str = EXTRAS) -> Path:
    """Make sure that the environment exists and fits pyproject.toml; return its Python."""
    venv = env_dir(options)
    stamp = venv / ".stamp"
    good = {fingerprint(options, extras), fingerprint(options, EXTRAS)}
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
    """Run the tests; what follows goes to pytest. Services that do not answer are skipped unless CI=true."""
    pytest(options, "-m", "not servers", "--ignore", "tests/docs", *rest)


def servers(options: argparse.Namespace, rest: list[str]) -> None:
    """Start every web server and foreign worker that prodserver knows, and end them."""
    pytest(options, "-m", "servers", *rest)


def docs(options: argparse.Namespace, rest: list[str]) -> None:
    """Execute every block of the README and of docs/."""
    pytest(options, "tests/docs", *rest)


def pytest(options: argparse.Namespace, *words: str) -> None:
    run([str(ready(options)), "-m", "pytest", "-n", "2", "--dist", "worksteal", *words])


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


def bench(options: argparse.Namespace, rest: list[str]) -> None:
    """Measure enqueue and drain of each broker that answers; prints ratios of one run."""
    python = ready(options)
    run([str(python), "-m", "benchmarks.run", *rest])


VERBS = {f.__name__: f for f in (setup, demo, test, servers, docs, check, bench)}


def main() -> None:
    lines = "\n".join(f"  {name:7} {(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description="Everything a developer runs.\n\n" + lines,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.add_argument("--python", help="build the environment with this Python, for example 3.13")
    parser.add_argument("--django", help="install this Django line, for example 6.1")
    options, rest = parser.parse_known_args()
    VERBS[options.verb](options, rest)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
