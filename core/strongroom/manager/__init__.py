"""The manager: the face of a chain of stores."""

from strongroom.manager.manager import SecretsManager

__all__ = ["SecretsManager"]
