"""The manager: the face of a chain of stores."""

from strongroom._manager.manager import SecretsManager

__all__ = ["SecretsManager"]
