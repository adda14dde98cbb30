"""Deployment files, read back by the parsers of their formats."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.db import connections

from django_cfg.tasks.brokers.rabbitmq.topology import Names
from django_cfg.tasks.models.queue_message import MessageState, QueueMessage
from django_prodserver.backends import queue_depth
from django_prodserver.conf import Process
from django_prodserver.emit import FORMATS, emit
from django_prodserver.emit.site import Site, default_user, slug
from django_prodserver.plan import plan
from tests.installed import needs

PREFIX = "django_prodserver.backends."


@pytest.fixture
def site(tmp_path: Path) -> Site:
    directory = tmp_path / "my shop 100%"
    directory.mkdir()
    manage = directory / "manage.py"
    manage.write_text("")
    return Site("my-shop", directory, "www-data", (sys.executable, str(manage)), "shop.settings", "shop:1")


def files(kind: str, site: Site, **more: Any) -> dict[str, str]:
    needs("gunicorn")
    web = Process("web", PREFIX + "gunicorn.GunicornServer", {"bind": "0.0.0.0:8000", "graceful_timeout": 50})
    worker = Process("big worker", PREFIX + "dramatiq.DramatiqWorker", {"processes": 2, "threads": 3}, **more)  # type: ignore[arg-type]
    return emit(kind, [plan(web), plan(worker)], site)


def ini(text: str, *, interpolation: Any = None) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=interpolation, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_systemd_unit_stops_the_main_process_alone_and_waits_longer_than_it_needs(site: Site) -> None:
    units = files("systemd", site)
    web, worker = (ini(units[f"my-shop-{name}.service"])["Service"] for name in ("web", "big-worker"))

    assert (web["KillMode"], web["TimeoutStopSec"], web["Restart"], web["User"]) == (
        "mixed",
        "55",
        "always",
        "www-data",
    )
    assert worker["TimeoutStopSec"] == "43"  # 25 s of the worker, 13 of its supervisor, 5 above
    assert worker["ExecStart"].endswith('manage.py" prodserver "big worker"')
    assert worker["WorkingDirectory"].endswith("my shop 100%%")
    assert "secret" not in "".join(units.values()).lower()


@pytest.mark.parametrize(("rule", "restart"), [("always", "always"), ("on-failure", "on-failure"), ("never", "no")])
def test_restart_rule_reaches_the_unit(site: Site, rule: str, restart: str) -> None:
    unit = files("systemd", site, restart=rule)["my-shop-big-worker.service"]
    assert ini(unit)["Service"]["Restart"] == restart


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_itself_accepts_the_units(site: Site, tmp_path: Path) -> None:
    for name, text in files("systemd", site).items():
        (tmp_path / name).write_text(text)
        checked = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / name)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        about_ours = [line for line in checked.stderr.splitlines() if name in line]
        assert (checked.returncode, about_ours) == (0, []), checked.stderr


def test_supervisor_programs(site: Site) -> None:
    [text] = files("supervisor", site).values()
    parsed = ini(text, interpolation=configparser.BasicInterpolation())

    worker = parsed["program:my-shop-big-worker"]
    assert shlex.split(worker["command"]) == [*site.manage, "prodserver", "big worker"]
    assert (worker["stopasgroup"], worker["killasgroup"], worker["stopwaitsecs"]) == ("false", "true", "43")
    assert worker["directory"] == str(site.directory)
    assert parsed["group:my-shop"]["programs"] == "my-shop-web,my-shop-big-worker"


def test_procfile_has_one_line_a_process_and_no_shell_in_between(site: Site) -> None:
    [text] = files("procfile", site).values()
    parsed = dict(re.fullmatch(r"([A-Za-z0-9_-]+): (.+)", line).groups() for line in text.splitlines())  # type: ignore[union-attr,misc]

    assert parsed["web"] == "exec python manage.py prodserver web"
    assert shlex.split(parsed["big_worker"])[-1] == "big worker"


def test_compose_services(site: Site) -> None:
    [text] = files("compose", site).values()
    services = yaml.safe_load(text)["services"]

    assert services["web"]["stop_grace_period"] == "55s" and services["web"]["ports"] == ["8000:8000"]
    assert services["big-worker"]["command"] == ["python", "manage.py", "prodserver", "big worker"]
    assert "healthcheck" not in services["big-worker"]
    assert all(
        service["user"] == "1000:1000" and service["restart"] == "unless-stopped" for service in services.values()
    )
    code = services["web"]["healthcheck"]["test"][-1]
    compile(code, "healthcheck", "exec")


def documents(site: Site) -> dict[tuple[str, str], Mapping[str, Any]]:
    [text] = files("kubernetes", site).values()
    assert "&id" not in text
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}


def test_kubernetes_deployments_run_without_root_and_are_probed_where_they_listen(site: Site) -> None:
    found = documents(site)
    web = found["Deployment", "my-shop-web"]["spec"]["template"]["spec"]
    worker = found["Deployment", "my-shop-big-worker"]["spec"]["template"]["spec"]

    assert web["terminationGracePeriodSeconds"] == 60 and worker["terminationGracePeriodSeconds"] == 43
    assert web["securityContext"]["runAsNonRoot"] is True and web["securityContext"]["runAsUser"] > 0
    [container] = web["containers"]
    assert container["readinessProbe"]["tcpSocket"] == container["livenessProbe"]["tcpSocket"] == {"port": "http"}
    assert container["ports"] == [{"name": "http", "containerPort": 8000}]
    assert "livenessProbe" not in worker["containers"][0]
    for (kind, name), document in found.items():
        assert document["apiVersion"] and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name), kind
    selector = found["Service", "my-shop-web"]["spec"]["selector"]
    assert selector == found["Deployment", "my-shop-web"]["spec"]["template"]["metadata"]["labels"]


def test_workers_on_redis_scale_by_the_depth_of_their_queues(site: Site, settings: Any) -> None:
    settings.DRAMATIQ_BROKER = {"OPTIONS": {"url": "rediss://ann:opensesame@cache.example:6380/2"}}
    settings.DJANGO_CFG_TASKS = {"queues": ["default", "mail"], "redis_key_prefix": "shop"}
    found = documents(site)

    triggers = found["ScaledObject", "my-shop-big-worker"]["spec"]["triggers"]
    assert [trigger["metadata"]["listName"] for trigger in triggers] == ["shop:queue:default", "shop:queue:mail"]
    assert triggers[0]["metadata"] | {"listName": ""} == {
        "address": "cache.example:6380", "databaseIndex": "2", "listName": "", "listLength": "6",
        "enableTLS": "true", "username": "ann",
    }  # fmt: skip
    assert found["TriggerAuthentication", "my-shop-big-worker"]["spec"]["secretTargetRef"] == [
        {"parameter": "password", "name": "my-shop-env", "key": "REDIS_PASSWORD"}
    ]
    assert "replicas" not in found["Deployment", "my-shop-big-worker"]["spec"]
    assert "opensesame" not in str(found)


def test_workers_on_sqlite_do_not_scale(site: Site) -> None:
    assert not [kind for kind, _ in documents(site) if kind == "ScaledObject"]


def test_scaler_s_question_fits_the_queue_table() -> None:
    assert QueueMessage._meta.db_table == queue_depth.TABLE
    assert queue_depth.STATES == (MessageState.READY, MessageState.CLAIMED, MessageState.SUSPECT)


def answer(alias: str, target: str) -> tuple[str, dict[str, str]]:
    """The scaler's target and secrets, after the database has answered its question."""
    [trigger] = queue_depth.triggers(f"database://{alias}", ["default", "o'clock"], 6)
    with connections[alias].cursor() as cursor:
        cursor.execute(trigger.metadata["query"])
        assert cursor.fetchone() == (0,)
    return trigger.metadata[target], trigger.secrets


@pytest.mark.postgres
@pytest.mark.django_db(databases=["default", "postgres"])
def test_postgresql_answers_the_scaler_s_question() -> None:
    assert answer("postgres", "targetQueryValue") == ("6", {"connection": "KEDA_POSTGRES_CONNECTION"})


@pytest.mark.mariadb
@pytest.mark.django_db(databases=["default", "mysql"])
def test_mariadb_answers_the_scaler_s_question() -> None:
    assert answer("mysql", "queryValue") == ("6", {"connectionString": "KEDA_MYSQL_CONNECTION"})


def test_workers_on_rabbitmq_scale_by_the_depth_of_the_queues_that_are_there(site: Site, settings: Any) -> None:
    settings.DRAMATIQ_BROKER = {"OPTIONS": {"url": "amqp://ann:opensesame@mq.example:5672/shop"}}
    settings.DJANGO_CFG_TASKS = {"queues": ["mail"], "rabbitmq_prefix": "shop"}
    found = documents(site)
    triggers = found["ScaledObject", "my-shop-big-worker"]["spec"]["triggers"]
    assert {trigger["metadata"]["queueName"] for trigger in triggers} == set(Names("shop").queues("mail"))
    assert {(one["type"], one["metadata"]["mode"], one["metadata"]["value"]) for one in triggers} == {
        ("rabbitmq", "QueueLength", "6")
    }
    assert found["TriggerAuthentication", "my-shop-big-worker"]["spec"]["secretTargetRef"] == [
        {"parameter": "host", "name": "my-shop-env", "key": "KEDA_RABBITMQ_HOST"}
    ]
    assert "opensesame" not in str(found)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_file_runs_as_root(site: Site, kind: str) -> None:
    assert not re.search(r"user\W+root|runAsUser: 0", "".join(files(kind, site).values()), re.IGNORECASE)


def test_user_is_the_owner_of_the_project_unless_that_is_root(tmp_path: Path) -> None:
    user = default_user(tmp_path)
    assert user == "www-data" if os.getuid() == 0 else user != "root"


@pytest.mark.parametrize(("name", "expected"), [("My Shop!", "my-shop"), ("a_b", "a-b"), ("...", "project")])
def test_names_fit_everywhere(name: str, expected: str) -> None:
    assert slug(name) == expected
