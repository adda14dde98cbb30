"""RUN: the engine and the Django app around it. Reads only `django.conf.settings`."""
