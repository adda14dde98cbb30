"""Another path of `backends.celery`."""

from django_prodserver.backends.celery import CeleryBeat as CeleryBeat
from django_prodserver.backends.celery import CeleryWorker as CeleryWorker
