"""Rotators that need no service: passwords, tokens, signing keys, and programs of the user."""
