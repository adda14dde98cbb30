"""Another path of `backends.daphne`."""

from django_prodserver.backends.daphne import DaphneRunserver as DaphneRunserver
