"""Vault policies, written from configured paths or from an audit log."""
