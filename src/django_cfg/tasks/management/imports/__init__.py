"""Where `dramatiq_import` takes waiting tasks from, one module a source."""
