"""Log lines of workers: with task and id, written beside the work, never in its way."""
