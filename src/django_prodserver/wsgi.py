"""The WSGI application of a project that does not name its own."""

from __future__ import annotations

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
