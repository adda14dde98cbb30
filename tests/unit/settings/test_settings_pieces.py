from __future__ import annotations

from pathlib import Path

import pytest

from django_cfg.settings.apps import installed_apps, middleware
from django_cfg.settings.base_dir import find_base_dir
from django_cfg.settings.build import development_key, templates
from django_cfg.settings.logs import logging_settings
from django_cfg.settings.mail import mail_settings

MAILER = {"BACKEND": "a.Backend", "OPTIONS": {"host": "h", "username": "u", "password": "p", "timeout": 5}}


def test_apps_are_tasks_then_django_then_the_users() -> None:
    apps = installed_apps(["shop"], with_tasks=True)

    assert apps[0] == "django_cfg.apps.tasks"
    assert apps[1] == "django.contrib.admin"
    assert apps[-1] == "shop"


def test_an_app_that_is_written_again_stands_once() -> None:
    apps = installed_apps(["django_cfg.apps.tasks", "django.contrib.admin", "shop"], with_tasks=True)

    assert len(apps) == len(set(apps)) == 8


def test_without_tasks_their_app_stays_away() -> None:
    assert "django_cfg.apps.tasks" not in installed_apps([], with_tasks=False)


def test_own_middleware_follows_djangos() -> None:
    assert middleware(["shop.M"])[-1] == "shop.M"
    assert middleware([])[0] == "django.middleware.security.SecurityMiddleware"


@pytest.mark.parametrize("version", [(6, 1), (2028, 0)])
def test_mail_is_a_mailer_since_django_6_1(version: tuple[int, int]) -> None:
    assert mail_settings(MAILER, "me@h", version) == {
        "MAILERS": {"default": MAILER},
        "DEFAULT_FROM_EMAIL": "me@h",
    }


@pytest.mark.parametrize("version", [(5, 2), (6, 0)])
def test_mail_has_the_old_names_before(version: tuple[int, int]) -> None:
    assert mail_settings(MAILER, "me@h", version) == {
        "EMAIL_BACKEND": "a.Backend",
        "EMAIL_HOST": "h",
        "EMAIL_HOST_USER": "u",
        "EMAIL_HOST_PASSWORD": "p",
        "EMAIL_TIMEOUT": 5,
        "DEFAULT_FROM_EMAIL": "me@h",
    }


def test_the_base_directory_is_the_nearest_with_manage_py(tmp_path: Path) -> None:
    (tmp_path / "manage.py").touch()
    module = tmp_path / "api" / "config.py"

    assert find_base_dir(str(module), Path("/elsewhere")) == tmp_path


def test_the_base_directory_of_a_shell_is_the_fallback(tmp_path: Path) -> None:
    assert find_base_dir(None, tmp_path) == tmp_path
    assert find_base_dir(str(tmp_path / "config.py"), Path("/elsewhere")) == Path("/elsewhere")


def test_templates_beside_manage_py_are_found_when_they_exist(tmp_path: Path) -> None:
    assert templates(tmp_path)[0]["DIRS"] == []

    (tmp_path / "templates").mkdir()

    assert templates(tmp_path)[0]["DIRS"] == [tmp_path / "templates"]
    assert templates(tmp_path)[0]["APP_DIRS"] is True


def test_a_development_key_is_stable_and_differs_between_projects() -> None:
    assert development_key("a") == development_key("a") != development_key("b")
    assert len(development_key("a")) >= 50


def test_one_level_rules_the_log() -> None:
    logging = logging_settings("DEBUG")

    assert logging["root"]["level"] == logging["loggers"]["django"]["level"] == "DEBUG"
