"""Watches: how changes of secrets are found, and delivered to callbacks and async loops."""
