"""Another path of `backends.celery`."""

from django_prodserver.backends.celery import CeleryFlower as CeleryFlower
