"""Fixtures for the tests of the command line, without a server."""

from cli_fixtures import command, configured, kept, script, terminal

__all__ = ["command", "configured", "kept", "script", "terminal"]
