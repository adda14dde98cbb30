"""Checks the configuration and starts Django."""

from __future__ import annotations

from importlib import import_module

import django
from pydantic import ValidationError

from django_cfg.errors import ConfigurationError


class DemoError(Exception):
    """Something that the user of the demo can cure; the text says it all, no traceback is needed."""


def start_django() -> None:
    """Start Django with the settings of the sample project.

    Raises:
        DemoError: the configuration is wrong, for example the broker URL of the command line.
    """
    try:
        import_module("api.config")  # here, where an error can still be put into words
        django.setup()
    except (ConfigurationError, ValidationError) as error:
        raise DemoError(str(error)) from error
