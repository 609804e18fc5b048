"""Vault policies, written from configured paths."""
