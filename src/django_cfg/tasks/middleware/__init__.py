"""Hooks around tasks, one class a file. They see messages, never the broker's store."""
