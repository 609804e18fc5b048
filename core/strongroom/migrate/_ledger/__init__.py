"""Durable state of migration runs: journals, encrypted backups, digests and reports, in private files."""
