"""Our engine behind Django's Tasks framework."""
