"""Another path of `backends.django_runserver`."""

from django_prodserver.backends.django_runserver import DjangoRunserver as DjangoRunserver
