"""Pages and endpoints; thin: they ask queries and health."""
