"""The parts of the demo: options, clean state, workers, work, progress, report."""
