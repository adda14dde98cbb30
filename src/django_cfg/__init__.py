"""Typed configuration and background tasks for Django."""
