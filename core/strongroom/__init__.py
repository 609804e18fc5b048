"""Secrets for Python applications, from a chain of stores."""
