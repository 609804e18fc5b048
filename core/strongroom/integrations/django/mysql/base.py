"""Django's backend for MySQL, with credentials from a chain. Django imports it by the name of its package."""

from __future__ import annotations

from django.db.backends.mysql.base import DatabaseWrapper as _DatabaseWrapper

from strongroom.integrations.django.wrapper import CredentialWrapper


class DatabaseWrapper(CredentialWrapper, _DatabaseWrapper):  # Django requires this name
    """The wrapper of one connection."""
