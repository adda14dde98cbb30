"""Another path of `backends.django_q2`."""

from django_prodserver.backends.django_q2 import DjangoQ2Worker as DjangoQ2Worker
