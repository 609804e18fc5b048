"""Fixtures for the tests of the command line, without a server."""

from support.cli_fixtures import command, configured, kept, patient_script, script, terminal
from support.search_path import search_path

__all__ = ["command", "configured", "kept", "patient_script", "script", "search_path", "terminal"]
