"""The development server with Werkzeug's debugger, which django-extensions brings; never for production."""

from __future__ import annotations

from django_prodserver.backends.django_runserver import DjangoRunserver


class RunserverPlus(DjangoRunserver):
    name = "runserver_plus"
    missing = "install django-extensions and Werkzeug, and add 'django_extensions' to INSTALLED_APPS"


class WerkzeugRunserver(RunserverPlus):
    """The same under its other name."""
