"""The shop."""

from django.apps import AppConfig


class ShopAppConfig(AppConfig):
    name = "apps.shop"
    label = "shop"
    default_auto_field = "django.db.models.BigAutoField"
