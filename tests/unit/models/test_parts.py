"""Cache, database, mail, Telegram and processes: what each turns into, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from django_cfg.models.cache import CacheConfig
from django_cfg.models.database import DatabaseConfig
from django_cfg.models.email import EmailConfig
from django_cfg.models.process import ProcessConfig
from django_cfg.models.telegram import TelegramConfig
from tests.unit.refusal import refusals

TOKEN = SecretStr("123:abc")


def test_a_cache_without_redis_is_the_memory_of_each_process() -> None:
    assert CacheConfig().to_django_config()["BACKEND"] == "django.core.cache.backends.locmem.LocMemCache"


def test_a_cache_on_redis_is_djangos_own_backend_at_one_location() -> None:
    entry = CacheConfig(redis_url="redis://:a,b;c@h/0", timeout_s=None).to_django_config()

    assert entry == {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://:a%2Cb%3Bc@h/0",
        "KEY_PREFIX": "",
        "TIMEOUT": None,
    }


def test_a_cache_is_no_rabbitmq() -> None:
    assert "none of redis://, rediss://, unix://" in refusals(lambda: CacheConfig(redis_url="amqp://h"))["redis_url"]


def test_sqlite_gets_the_options_that_let_processes_share_it(tmp_path: Path) -> None:
    entry = DatabaseConfig().to_django_config(tmp_path)

    assert entry["ENGINE"] == "django.db.backends.sqlite3"
    assert entry["NAME"] == str(tmp_path / "db.sqlite3")
    assert entry["OPTIONS"] == {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }


def test_written_options_of_sqlite_win_over_ours_one_by_one(tmp_path: Path) -> None:
    options = DatabaseConfig(options={"timeout": 5}).to_django_config(tmp_path)["OPTIONS"]

    assert options["timeout"] == 5
    assert options["transaction_mode"] == "IMMEDIATE"


@pytest.mark.parametrize("name", [":memory:", "file:jobs?mode=memory"])
def test_a_database_in_memory_has_no_directory(name: str, tmp_path: Path) -> None:
    assert DatabaseConfig(name=name).to_django_config(tmp_path)["NAME"] == name


def test_another_engine_gets_only_what_was_written(tmp_path: Path) -> None:
    part = DatabaseConfig(engine="postgresql", name="shop", password=SecretStr("pw"), port=5432)

    entry = part.to_django_config(tmp_path)

    assert (entry["ENGINE"], entry["NAME"]) == ("django.db.backends.postgresql", "shop")
    assert (entry["PASSWORD"], entry["PORT"], entry["OPTIONS"]) == ("pw", "5432", {})


def test_problems_of_a_database_are_told_with_those_between_its_fields() -> None:
    found = refusals(lambda: DatabaseConfig.model_validate({"engine": "postgresql", "port": 0}))

    assert found.keys() == {"port", "name"}
    assert found["name"].endswith("needs one (from DatabaseConfig in code); write the database's name")


def test_a_wrong_field_is_no_reason_to_doubt_the_right_ones() -> None:
    assert refusals(lambda: DatabaseConfig(port=0)).keys() == {"port"}


def test_an_unknown_engine_is_refused_with_the_one_that_was_meant() -> None:
    assert refusals(lambda: DatabaseConfig(engine="postgres"))["engine"].startswith(
        "engine 'postgres' is neither a dotted path nor known; did you mean 'postgresql'?"
    )


def test_mail_by_smtp_carries_its_server_and_login() -> None:
    mailer = EmailConfig(host="mail", port=587, username="me", password=SecretStr("pw"), use_tls=True).mailer()

    assert mailer["BACKEND"] == "django.core.mail.backends.smtp.EmailBackend"
    assert mailer["OPTIONS"] == {
        "host": "mail",
        "port": 587,
        "username": "me",
        "password": "pw",
        "use_tls": True,
        "use_ssl": False,
        "timeout": 10,
    }


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (EmailConfig(backend="file", file_path="/mails"), {"file_path": "/mails"}),
        (EmailConfig(backend="console"), {}),
        (EmailConfig(backend="shop.mail.Backend"), {}),
    ],
)
def test_other_mail_backends_get_no_server(part: EmailConfig, options: dict[str, str]) -> None:
    assert part.mailer()["OPTIONS"] == options


def test_all_contradictions_of_mail_are_told_at_once() -> None:
    found = refusals(lambda: EmailConfig(use_tls=True, use_ssl=True, backend="file"))

    assert found.keys() == {"use_ssl", "file_path"}


def test_telegram_becomes_the_setting_with_its_plain_token() -> None:
    assert TelegramConfig.model_validate({"bot_token": "123:abc", "chat_id": -100}).to_django_config() == {
        "bot_token": "123:abc",
        "chat_id": "-100",
        "timeout_s": 10,
        "api_url": "https://api.telegram.org",
    }


@pytest.mark.parametrize("token", ["", "abc", "12 3:abc", "123:abc/../x"])
def test_a_wrong_token_is_refused_and_not_shown(token: str) -> None:
    found = refusals(lambda: TelegramConfig(bot_token=SecretStr(token)))

    assert found["bot_token"].startswith("bot_token does not look like digits:letters")
    assert not token or token not in found["bot_token"]


@pytest.mark.parametrize("url", ["api.telegram.org", "http://api.telegram.org", "https://u:p@h", "https://[x"])
def test_a_token_travels_only_over_a_private_address(url: str) -> None:
    assert "must be https://host" in refusals(lambda: TelegramConfig(bot_token=TOKEN, api_url=url))["api_url"]


def test_a_server_on_this_machine_needs_no_encryption() -> None:
    assert TelegramConfig(bot_token=TOKEN, api_url="http://localhost:8081/").api_url == "http://localhost:8081"


def test_a_required_value_that_is_missing_is_named() -> None:
    assert refusals(lambda: TelegramConfig.model_validate({})) == {
        "bot_token": "bot_token is required (from TelegramConfig in code)"
    }


@pytest.mark.parametrize("args", [{}, {"bind": ":8000", "workers": 4, "reload": None, "x": ["a", 1]}, ["--x=1"]])
def test_a_process_keeps_its_arguments_as_written(args: dict[str, object] | list[str]) -> None:
    part = ProcessConfig.model_validate({"BACKEND": "a.b.C", "ARGS": args})

    assert part.to_django_config() == {"BACKEND": "a.b.C", "ARGS": args}


@pytest.mark.parametrize("args", ["--x", 3, {"x": {}}, {1: 2}, [1], {"x": [[]]}])
def test_arguments_of_another_shape_are_refused_once(args: object) -> None:
    found = refusals(lambda: ProcessConfig.model_validate({"BACKEND": "a.b.C", "ARGS": args}))

    assert found.keys() == {"ARGS"}
    assert found["ARGS"].startswith("ARGS must be a dictionary of option and value")


@pytest.mark.parametrize("part", [CacheConfig(redis_url="redis://:pw@h"), TelegramConfig(bot_token=TOKEN)])
def test_no_secret_is_in_the_representation_of_a_part(part: object) -> None:
    assert "***" in repr(part)
    assert "pw" not in repr(part)
    assert "abc" not in repr(part)
