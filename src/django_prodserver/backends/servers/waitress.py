"""Another path of `backends.waitress`."""

from django_prodserver.backends.waitress import WaitressServer as WaitressServer
