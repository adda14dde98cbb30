from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from django_cfg.models.environment import Environment
from django_cfg.models.part import Part
from tests.unit.refusal import refusal, refusals

Write = Callable[..., type[Environment]]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith(("DJANGO_CFG_", "SHOP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """An environment class over the given YAML text, `.env` text and variables."""

    def make(yaml: str | None = None, dotenv: str | None = None, **variables: str) -> type[Environment]:
        if dotenv is not None:
            Path(".env").write_text(dotenv)
        if yaml is not None:
            Path("config.yaml").write_text(yaml)
        for name, value in variables.items():
            monkeypatch.setenv(f"DJANGO_CFG_{name}", value)

        class Written(Environment):
            model_config = SettingsConfigDict(yaml_file="config.yaml" if yaml is not None else None)

        return Written

    return make


def test_without_any_source_everything_has_its_default() -> None:
    env = Environment()

    assert env.environment == "development"
    assert (env.redis.tasks_url, env.redis.cache_url) == ("", "")
    assert (env.dramatiq.processes, env.dramatiq.threads) == (4, 8)
    assert env.telegram is None


def test_a_variable_wins_over_dotenv_over_yaml_over_the_default(write: Write) -> None:
    env = write(
        yaml="dramatiq:\n  processes: 2\n  threads: 2\n  max_retries: 2\n",
        dotenv="DJANGO_CFG_DRAMATIQ__PROCESSES=3\nDJANGO_CFG_DRAMATIQ__THREADS=3\n",
        DRAMATIQ__PROCESSES="5",
    )()

    assert (env.dramatiq.processes, env.dramatiq.threads, env.dramatiq.max_retries) == (5, 3, 2)
    assert env.dramatiq.max_backoff == 30_000


def test_an_argument_in_code_wins_over_all_and_is_named_as_such(write: Write) -> None:
    cls = write(ENVIRONMENT="staging")

    assert cls(environment="test").environment == "test"
    assert "(from Written in code)" in refusal(lambda: cls(environment="prod"))


def test_names_of_variables_ignore_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("django_cfg_redis__tasks_url", "redis://h/1")

    assert Environment().redis.tasks_url == "redis://h/1"


@pytest.mark.parametrize(
    ("variables", "read"),
    [
        ({"DRAMATIQ__QUEUES": "a, b"}, lambda env: env.dramatiq.queues == ["a", "b"]),
        ({"DRAMATIQ__QUEUES": '["a", "b"]'}, lambda env: env.dramatiq.queues == ["a", "b"]),
        ({"ALLOWED_HOSTS": "shop.example"}, lambda env: env.allowed_hosts == ["shop.example"]),
        ({"DRAMATIQ": '{"processes": 3}', "DRAMATIQ__THREADS": "2"}, lambda env: env.dramatiq.threads == 2),
        ({"DRAMATIQ": '{"processes": 3}', "DRAMATIQ__THREADS": "2"}, lambda env: env.dramatiq.processes == 3),
        ({"DATABASE__OPTIONS": '{"timeout": 3}'}, lambda env: env.database.options == {"timeout": 3}),
        ({"DATABASE__OPTIONS__TIMEOUT": "3"}, lambda env: env.database.options == {"timeout": "3"}),
        ({"DEBUG": "yes"}, lambda env: env.debug is True),
        ({"TELEGRAM__BOT_TOKEN": "1:a"}, lambda env: env.telegram.to_django_config()["bot_token"] == "1:a"),
    ],
)
def test_text_is_read_as_the_field_needs_it(
    variables: dict[str, str], read: Callable[[Any], bool], write: Write
) -> None:
    assert read(write(**variables)())


def test_a_secret_may_stand_in_a_file(tmp_path: Path, write: Write) -> None:
    (tmp_path / "key").write_text("s3cret\n")

    assert write(SECRET_KEY_FILE=str(tmp_path / "key"))().secret_key == SecretStr("s3cret")


def test_a_dotenv_value_is_expanded_from_variables_and_earlier_lines(write: Write) -> None:
    text = "PORT=7\nDJANGO_CFG_REDIS__TASKS_URL='redis://${HOST:-h}:${PORT}/${DJANGO_CFG_REDIS__DB:-4}'\n"

    assert write(dotenv=text)().redis.tasks_url == "redis://h:7/4"


def test_yaml_anchors_and_merges_are_read(write: Write) -> None:
    text = "dramatiq: &workers\n  processes: 3\nredis: {tasks_url: redis://h/0}\n"
    merged = "base: &base {processes: 3}\ndramatiq:\n  <<: *base\n  threads: 2\n"

    assert write(yaml=text)().dramatiq.processes == 3
    assert refusals(write(yaml=merged)).keys() == {"base"}


class Shop(Part):
    currency: str = "EUR"
    vat_percent: int = 20


def test_a_subclass_adds_sections_under_its_own_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    class ShopEnvironment(Environment):
        model_config = SettingsConfigDict(env_prefix="SHOP_")
        shop: Shop = Shop()

    monkeypatch.setenv("SHOP_SHOP__VAT_PERCENT", "7")
    monkeypatch.setenv("DJANGO_CFG_NO_SUCH", "is another project's")

    assert ShopEnvironment().shop == Shop(vat_percent=7)

    monkeypatch.setenv("SHOP_SHOP__VAT", "7")

    assert "did you mean SHOP_SHOP__VAT_PERCENT?" in refusals(ShopEnvironment)["shop.vat"]


BAD_VARIABLES = [
    (
        "REDIS__TASKS_URL",
        "",
        "redis.tasks_url",
        "{name} is empty (from variable {name}); set it or remove it",
    ),
    ("REDIS__TASKS_URL", "  ", "redis.tasks_url", "{name} is empty (from variable {name})"),
    ("EMAIL__HOST", "${MAIL}", "email.host", "{name} holds a variable that was not expanded (${{...}})"),
    (
        "REDIS__TASKS_URL",
        "localhost:6379",
        "redis.tasks_url",
        "did you mean 'redis://localhost:6379/0'? (from variable {name})",
    ),
    (
        "REDIS__CACHE_URL",
        "amqp://h",
        "redis.cache_url",
        "none of redis://, rediss://, unix:// (from variable {name})",
    ),
    ("REDISS__TASKS_URL", "x", "rediss.tasks_url", "did you mean DJANGO_CFG_REDIS__TASKS_URL?"),
    (
        "ENVIROMENT",
        "x",
        "enviroment",
        "unknown variable {name} (from variable {name}); did you mean DJANGO_CFG_ENVIRONMENT?",
    ),
    ("DRAMATIQ__PROCESES", "1", "dramatiq.proceses", "did you mean DJANGO_CFG_DRAMATIQ__PROCESSES?"),
    ("XYZ", "1", "xyz", "remove it; sections and fields: DJANGO_CFG_ENVIRONMENT, "),
    ("DRAMATIQ__PROCESSES", "many", "dramatiq.processes", "got 'many' (from variable {name})"),
    (
        "DRAMATIQ__PROCESSES",
        "100",
        "dramatiq.processes",
        "less than or equal to 32, got '100' (from variable {name})",
    ),
    (
        "DRAMATIQ__MIN_BACKOFF",
        "60000",
        "dramatiq.min_backoff",
        "above max_backoff 30000 ms (from variable {name})",
    ),
    ("DRAMATIQ__QUEUES", "a,,b", "dramatiq.queues.1", "'' is not a queue name"),
    (
        "DRAMATIQ__QUEUES",
        "[a",
        "dramatiq.queues",
        '{name} is not valid JSON (from variable {name}); write a,b or ["a", "b"]',
    ),
    ("DRAMATIQ", "[1]", "dramatiq", "{name} is not valid JSON (from variable {name}); write a JSON object"),
    ("ENVIRONMENT", "prod", "environment", "'staging' or 'production', got 'prod' (from variable {name})"),
    (
        "TELEGRAM__CHAT_ID",
        "3",
        "telegram.bot_token",
        "bot_token is required (from variable {name}); set DJANGO_CFG_TELEGRAM__BOT_TOKEN",
    ),
    (
        "SECRET_KEY_FILE",
        "/no/such",
        "secret_key",
        "cannot be read (No such file or directory) (from file /no/such, named by variable {name})",
    ),
]


@pytest.mark.parametrize(("name", "value", "field", "said"), BAD_VARIABLES)
def test_a_wrong_variable_is_named_with_its_value_and_cure(
    name: str, value: str, field: str, said: str, write: Write
) -> None:
    found = refusals(write(**{name: value}))

    assert found.keys() == {field}
    assert said.format(name=f"DJANGO_CFG_{name}") in found[field]


BAD_YAML = [
    ("redis:\n  tasks_url:\n", "redis.tasks_url", "redis.tasks_url is empty (from config.yaml:2)"),
    ("redis:\n  tasks_url: ''\n", "redis.tasks_url", "redis.tasks_url is empty (from config.yaml:2)"),
    ("redis:\n", "redis", "redis is empty (from config.yaml:1); set it or remove it"),
    ("redis:\n  tasks_url: redis://${H}\n", "redis.tasks_url", "not expanded (${...}) (from config.yaml:2)"),
    (
        "redis:\n  tasks_ur: x\n",
        "redis.tasks_ur",
        "'tasks_ur' (from config.yaml:2); did you mean 'tasks_url'?",
    ),
    ("\nrediss:\n  tasks_url: x\n", "rediss", "'rediss' (from config.yaml:3); did you mean 'redis'?"),
    ("dramatiq:\n  processes: 100\n", "dramatiq.processes", "got 100 (from config.yaml:2)"),
    ("dramatiq:\n  queues:\n    - x.DQ\n", "dramatiq.queues.0", "may not end in .DQ or .XQ"),
    ("dramatiq: 3\n", "dramatiq", "dramatiq must be a valid dictionary or instance of DramatiqConfig, got 3"),
    ("debug: true\ndebug: false\n", "debug", "debug is written twice (from config.yaml:2); remove one"),
    ("a: [\nb: 1\n", "yaml_file", "(from config.yaml:"),
    ("a: 'open\n", "yaml_file", "YAML syntax: found unexpected end of stream (from config.yaml:2)"),
    ("- a\n", "yaml_file", "the file is not a mapping (from config.yaml:1)"),
    ("a: !!python/name:os.system\n", "yaml_file", "YAML syntax: could not determine a constructor"),
]


@pytest.mark.parametrize(("text", "field", "said"), BAD_YAML)
def test_a_wrong_yaml_value_is_named_with_file_and_line(text: str, field: str, said: str, write: Write) -> None:
    found = refusals(write(yaml=text))

    assert found.keys() == {field}
    assert said in found[field]


def test_a_yaml_file_that_was_named_must_exist(write: Write) -> None:
    cls = write(yaml="debug: true")
    Path("config.yaml").unlink()

    assert refusals(cls) == {
        "yaml_file": "the YAML file cannot be read (No such file or directory) (from config.yaml); correct yaml_file"
    }


def test_a_value_and_its_file_exclude_each_other(tmp_path: Path, write: Write) -> None:
    (tmp_path / "key").write_text("s3cret")
    found = refusals(write(SECRET_KEY="x", SECRET_KEY_FILE=str(tmp_path / "key")))

    assert "both give a value" in found["secret_key"]
    assert "s3cret" not in found["secret_key"]


def test_a_line_of_dotenv_that_is_no_assignment_is_named(write: Write) -> None:
    found = refusals(write(dotenv="# a comment\nfoo bar baz\nDJANGO_CFG_FOO=1\n"))

    assert found["env_file"] == "this line is no NAME=value (from .env:2); correct it"
    assert "(from .env:3)" in found["foo"]


def test_all_problems_of_all_sources_are_told_at_once_without_secrets(write: Write) -> None:
    text = refusal(
        write(
            yaml="redis:\n  tasks_url: redis://:hunter2@h/two\n  cache_url:\ndatabase:\n  password: 1234567\n",
            dotenv="DJANGO_CFG_EMAIL__PORT=smtp\n",
            DRAMATIQ__THREADS="0",
            EMAIL__PASWORD="hunter2",
        )
    )

    assert text.startswith("6 validation errors for Written")
    assert "config.yaml:2" in text and "config.yaml:3" in text and "config.yaml:5" in text
    assert ".env:1" in text and "variable DJANGO_CFG_DRAMATIQ__THREADS" in text
    assert "hunter2" not in text and "1234567" not in text
