"""Doors: entries for INSTALLED_APPS."""
