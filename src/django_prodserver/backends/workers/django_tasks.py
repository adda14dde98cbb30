"""Another path of `backends.django_tasks`."""

from django_prodserver.backends.django_tasks import DjangoTasksWorker as DjangoTasksWorker
