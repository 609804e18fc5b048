"""Vault servers, clusters and faults, and logins."""
