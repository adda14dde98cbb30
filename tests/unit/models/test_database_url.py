"""A database as one URL: what each means, and the cure for each that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from django_cfg.errors import ConfigurationError
from django_cfg.models.database import DatabaseConfig
from django_cfg.models.database_url import read_url
from django_cfg.models.environment import Environment
from tests.unit.refusal import refusals

BASE = Path("/srv/shop")


def entry(url: str, **fields: Any) -> dict[str, Any]:
    return DatabaseConfig(url=url, **fields).to_django_config(BASE)


@pytest.mark.parametrize(
    ("scheme", "engine"),
    [("postgresql", "postgresql"), ("postgres", "postgresql"), ("mysql", "mysql"), ("mariadb", "mysql")],
)
def test_a_server_with_everything(scheme: str, engine: str) -> None:
    found = entry(f"{scheme}://me:p%40ss%2Fw@db.example:6000/shop%20one")

    assert found["ENGINE"] == f"django.db.backends.{engine}"
    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("shop one", "me", "p@ss/w")
    assert (found["HOST"], found["PORT"], found["OPTIONS"]) == ("db.example", "6000", {})


def test_what_a_url_leaves_open_is_the_drivers_default() -> None:
    found = entry("mysql:///shop")

    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == ("", "", "", "")


def test_options_become_what_the_driver_takes() -> None:
    url = "mysql://h/shop?charset=utf8mb4&connect_timeout=5&ssl_ca=/ca.pem&ssl_key=/key.pem"

    assert entry(url)["OPTIONS"] == {
        "charset": "utf8mb4",
        "connect_timeout": 5,
        "ssl": {"ca": "/ca.pem", "key": "/key.pem"},
    }
    assert entry("postgresql://h/shop?sslmode=verify-full&pool=true")["OPTIONS"] == {
        "sslmode": "verify-full",
        "pool": True,
    }


def test_sockets_are_options() -> None:
    assert entry("postgresql:///shop?host=/run/postgresql")["HOST"] == "/run/postgresql"
    assert entry("mysql:///shop?unix_socket=/run/mysqld.sock")["OPTIONS"] == {"unix_socket": "/run/mysqld.sock"}


def test_an_address_of_ipv6_loses_its_brackets() -> None:
    assert (entry("mysql://[::1]:3307/shop")["HOST"], entry("mysql://[::1]:3307/shop")["PORT"]) == ("::1", "3307")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///jobs.sqlite3", "/srv/shop/jobs.sqlite3"),
        ("sqlite:////var/jobs.sqlite3", "/var/jobs.sqlite3"),
        ("sqlite:///a%23b", "/srv/shop/a#b"),
        ("sqlite://:memory:", ":memory:"),
    ],
)
def test_a_file_of_sqlite_gets_our_options(url: str, name: str) -> None:
    found = entry(url + "?timeout=5")

    assert found["NAME"] == name
    assert (found["OPTIONS"]["timeout"], found["OPTIONS"]["transaction_mode"]) == (5, "IMMEDIATE")


def test_fields_say_what_the_url_leaves_open_and_options_win() -> None:
    password = SecretStr("from a file")
    found = entry("mysql://me@h/shop?charset=latin1", password=password, options={"charset": "utf8mb4"})

    assert (found["PASSWORD"], found["OPTIONS"]) == ("from a file", {"charset": "utf8mb4"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("engine", "mysql"), ("name", "x"), ("user", "x"), ("password", "x"), ("host", "x"), ("port", 1)],
)
def test_what_is_written_twice_is_refused(name: str, value: object) -> None:
    found = refusals(lambda: DatabaseConfig.model_validate({"url": "postgresql://u:hush@h:5/shop", name: value}))

    assert found == {
        name: f"{name} is written beside a url that says it too (from DatabaseConfig in code); keep one of them"
    }


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("   ", "is blank; set it or remove it"),
        (" mysql://h/shop", "starts or ends with a blank or a line break; remove it"),
        ("mysql://${DB}/shop", "holds a variable that was not expanded (${...})"),
        ("localhost:3306", "is not a URL; did you mean 'mysql://user:password@localhost:3306/name'?"),
        ("localhost:5432", "is not a URL; did you mean 'postgresql://user:password@localhost:5432/name'?"),
        ("shop", "is not a URL; write one of postgresql://user:password@localhost:5432/name, mysql://"),
        ("postgressql://h/shop", "did you mean postgresql://?"),
        (
            "mysql+pymysql://h/shop",
            "has the scheme 'mysql+pymysql', which is none of postgresql://, postgres://, mysql://",
        ),
        ("oracle://h/shop", "for another engine write engine and name"),
        ("mysql://h", "names no database; write mysql://user:password@host:3306/name"),
        ("mysql://h/", "names no database; write mysql://user:password@host:3306/name"),
        ("postgresql://h/a/b", "names two databases ('a/b'); write postgresql://user:password@host:5432/name"),
        ("mysql://u:p@ss@h/shop", "holds an unescaped @ in the user name or password; encode @ as %40"),
        ("mysql://u:p/w@h/shop", "holds an unescaped / in the user name or password; encode / as %2F"),
        ("mysql://u:p#w@h/shop", "holds an unescaped # in the user name or password; encode # as %23"),
        ("mysql://h:70000/shop", "has a port or host that cannot be read; write host:port with a port of 1–65535"),
        ("mysql://h:0/shop", "has port 0; write a port of 1–65535"),
        ("mysql://h/shop?charsett=utf8mb4", "has the unknown option 'charsett'; did you mean 'charset'?"),
        ("mysql://h/shop?connect_timeout=soon", "option connect_timeout expects a whole number, got 'soon'"),
        ("postgresql://h/shop?charset=utf8", "has the unknown option 'charset'; known: application_name, client_"),
        ("sqlite://db.sqlite3", "names no file; write sqlite:///db.sqlite3, sqlite:////absolute/path or sqlite://:mem"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a#b", "holds an unescaped #; encode # as %23"),
    ],
)
def test_a_wrong_url_is_refused_with_its_cure(url: str, said: str) -> None:
    text = refusals(lambda: DatabaseConfig(url=url))["url"]

    assert text.startswith("url ")
    assert said in text


WORD = st.text(st.characters(codec="ascii", exclude_characters="\x7f", min_codepoint=33), min_size=4)


@given(
    secret=WORD,
    scheme=st.sampled_from(["mysql", "postgresql", "nosuch"]),
    rest=st.sampled_from(["@h/a/b", "@h:x/a", "@h"]),
)
def test_no_error_shows_a_password(secret: str, scheme: str, rest: str) -> None:
    marked = f"hush{secret}hush"
    try:
        read_url(f"{scheme}://me:{marked}{rest}")
    except ConfigurationError as error:
        assert "hush" not in str(error)


def test_the_representation_hides_the_password() -> None:
    config = DatabaseConfig(url="mysql://me:hush@h/shop")

    assert "hush" not in repr(config)
    assert "hush" not in repr(config.address())


def test_a_url_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_CFG_DATABASE__URL", "mysql://me@db/shop")
    monkeypatch.setenv("DJANGO_CFG_DATABASE__PASSWORD", "pw")

    found = Environment().database.to_django_config(BASE)

    assert (found["ENGINE"], found["HOST"], found["PASSWORD"]) == ("django.db.backends.mysql", "db", "pw")


def test_a_wrong_url_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_CFG_DATABASE__URL", "mysql://me:hush@db")

    (text,) = refusals(Environment).values()

    assert text == (
        "url 'mysql://me:***@db' names no database; write mysql://user:password@host:3306/name "
        "(from variable DJANGO_CFG_DATABASE__URL)"
    )
