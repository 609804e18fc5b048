"""The store `aws-rds`: tokens with which an identity of AWS logs in to PostgreSQL, MySQL or MariaDB of RDS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from strongroom.errors import ConfigurationError
from strongroom.store import Health, Option, Traits, checked_by
from strongroom.store.issuer import Issued, IssuingStore, read_rows
from strongroom_aws.plugin import Region, open_service
from strongroom_aws.service import CREDENTIAL_VARIABLES

LIFE = 900
"""Seconds for which RDS accepts a token. It ends no connection that a token has opened."""

_ROUNDING = 1
"""A token's time is in whole seconds, so it may end this many seconds earlier."""


def check_rds(*, paths: Mapping[str, Any], **_: object) -> None:
    """Check the options of `open_rds` without boto3."""
    for path, row in read_rows(paths, ("host", "port", "user"), ("name", "region")).items():
        if texts := [key for key in row if key != "port" and not isinstance(row[key], str)]:
            raise ConfigurationError(f"paths: {path!r}: '{texts[0]}' must be text")
        if not re.fullmatch(r"[\w.-]+", row["host"]):
            raise ConfigurationError(f"paths: {path!r}: 'host' must be the name of a host")
        if type(row["port"]) is not int or not 0 < row["port"] < 1 << 16:
            raise ConfigurationError(f"paths: {path!r}: 'port' must be a number from 1 to 65535")


@checked_by(check_rds)
def open_rds(
    *,
    paths: Annotated[
        dict[str, Any],
        Option("path -> the database: { host, port, user }, and perhaps name and region", locates=True),
    ],
    region: Region = None,
    profile: Annotated[
        str | None, Option("the profile of ~/.aws/config; defaults to AWS_PROFILE", locates=True)
    ] = None,
) -> RdsTokens:
    """Tokens for databases of Amazon RDS and Aurora, which this process signs.

    boto3 finds the identity: variables, a profile, SSO, a web identity, the role of a pod, a task or an instance.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    check_rds(paths=paths)
    return RdsTokens(paths, region, profile)


class RdsTokens(IssuingStore[Mapping[str, Any]]):
    """Secrets with `host`, `port`, `user` and `password`, the token; and `name`, if the row has it.

    Args:
        rows: path -> the database.
        region: the region of databases whose row names none.
        profile: the profile of ~/.aws/config.
    """

    traits = Traits(credential_variables=CREDENTIAL_VARIABLES, honors_deadline=True, lasting=True)

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], region: str | None, profile: str | None) -> None:
        super().__init__(rows)
        self._region = region
        regions = {row.get("region") or region for row in rows.values()}
        self._services = {each: open_service("rds", each, profile, None) for each in regions}

    def issue(self, path: str, row: Mapping[str, Any]) -> Issued:
        service = self._services[row.get("region") or self._region]
        token = service.sign(path, lambda rds: rds.generate_db_auth_token(row["host"], row["port"], row["user"]))
        data = {key: row[key] for key in ("host", "port", "name", "user") if key in row}
        return Issued({**data, "password": token}, LIFE - _ROUNDING)

    def probe(self) -> Health:
        """Return whether there are credentials, by a token for each database. No database is asked."""
        for path, row in self._rows.items():
            self.issue(path, row)
        return Health(ok=True, detail="open: AWS credentials were found")

    def close(self) -> None:
        super().close()
        for service in self._services.values():
            service.close()
