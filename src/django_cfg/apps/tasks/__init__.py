"""Door to the tasks app; write `django_cfg.apps.tasks` in INSTALLED_APPS."""
