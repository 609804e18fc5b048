"""Fixtures for the tests of the command line, against real servers."""

from support.cli_fixtures import command, configured, kept, patient_script, script, terminal

__all__ = ["command", "configured", "kept", "patient_script", "script", "terminal"]
