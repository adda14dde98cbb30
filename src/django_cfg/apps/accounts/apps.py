"""The app of one-time passwords."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "django_cfg.apps.accounts"
    label = "django_cfg_accounts"
    verbose_name = "Accounts"
    default_auto_field = "django.db.models.BigAutoField"
