"""The same backends by the longer paths that some projects have in their settings."""
