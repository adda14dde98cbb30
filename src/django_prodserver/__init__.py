"""START: runs the production processes that `PRODUCTION_PROCESSES` names; knows none of the other rooms."""
