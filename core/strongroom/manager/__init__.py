"""The manager: its blocking methods, and their asynchronous forms."""

from strongroom.manager.asynchronous import SecretsManager

__all__ = ["SecretsManager"]
