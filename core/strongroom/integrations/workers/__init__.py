"""Servers that do their work in child processes."""
