"""The ASGI application of a project that does not name its own."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

application = get_asgi_application()
