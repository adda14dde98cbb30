"""START: runs the production processes that `PRODUCTION_PROCESSES` names. Knows nothing of the other rooms."""
