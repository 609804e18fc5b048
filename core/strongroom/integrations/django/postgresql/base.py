"""Django's backend for PostgreSQL, with credentials from a chain. Django imports it by the name of its package."""

from __future__ import annotations

from django.db.backends.postgresql.base import DatabaseWrapper as _DatabaseWrapper

from strongroom._credentials.database_address import Kind
from strongroom.integrations.django.wrapper import CredentialWrapper


class DatabaseWrapper(CredentialWrapper, _DatabaseWrapper):  # Django requires this name
    """The wrapper of one connection."""

    kind: Kind = "PostgreSQL"
