"""Another path of `backends.gunicorn`."""

from django_prodserver.backends.gunicorn import GunicornServer as GunicornServer
