"""Django's backend for MySQL, with credentials from a chain. Django imports it by the name of its package."""

from __future__ import annotations

from typing import Any

from django.db.backends.mysql.base import DatabaseWrapper as _DatabaseWrapper

from strongroom._credentials.database_address import Kind
from strongroom.integrations.database import check_mysql_tls
from strongroom.integrations.django.wrapper import CredentialWrapper


class _VerifyingWrapper(_DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        check_mysql_tls(conn_params)
        return super().get_new_connection(conn_params)


class DatabaseWrapper(CredentialWrapper, _VerifyingWrapper):  # Django requires this name
    """The wrapper of one connection."""

    kind: Kind = "MySQL"
