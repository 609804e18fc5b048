"""The store `aws-rds`: tokens with which an identity of AWS logs in to PostgreSQL, MySQL or MariaDB of RDS."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any

from strongroom.errors import AuthenticationError, ConfigurationError
from strongroom.store import Health, Option, Traits, checked_by
from strongroom.store.issuer import Issued, IssuingStore, read_rows
from strongroom_aws.errors import NO_CREDENTIALS, misconfigured
from strongroom_aws.plugin import Region
from strongroom_aws.service import CREDENTIAL_VARIABLES, in_time

LIFE = 900
"""Seconds for which RDS accepts a token. It ends no connection that a token has opened."""

_ROUNDING = 1
"""A token's time is in whole seconds, so it may end this many seconds earlier."""


def check_rds(*, paths: Mapping[str, Any], **_: object) -> None:
    """Check the options of `open_rds` without boto3."""
    for path, row in read_rows(paths, ("host", "port", "user"), ("name", "region")).items():
        if texts := [key for key in row if key != "port" and not isinstance(row[key], str)]:
            raise ConfigurationError(f"paths: {path!r}: '{texts[0]}' must be text")
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
        ConfigurationError: an option is wrong, or boto3 finds no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    import boto3  # type: ignore[import-untyped]  # boto3 ships no types

    _ = boto3  # fail now if it is not installed
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
        self._profile = profile
        self._lock = threading.Lock()
        self._session: Any = None  # of boto3, which ships no types

    def issue(self, path: str, row: Mapping[str, Any]) -> Issued:
        token = in_time(path, lambda: self._sign(path, row))
        data = {key: row[key] for key in ("host", "port", "name", "user") if key in row}
        return Issued({**data, "password": token}, LIFE - _ROUNDING)

    def probe(self) -> Health:
        """Return whether there are credentials. The database is not asked."""
        in_time(None, lambda: self._credentials(None))
        return Health(ok=True, detail="open: AWS credentials were found")

    def _credentials(self, path: str | None) -> tuple[Any, Any]:
        """Return the session, and its credentials as they are now. boto3 renews those that it can."""
        from boto3.session import Session  # type: ignore[import-untyped]  # boto3 ships no types

        with self._lock:  # finding credentials is not thread-safe
            if self._session is None:
                self._session = Session(profile_name=self._profile, region_name=self._region)
            credentials = self._session.get_credentials()
        if credentials is None:
            raise AuthenticationError(path, "no AWS credentials were found", hint=NO_CREDENTIALS)
        return self._session, credentials

    def _sign(self, path: str, row: Mapping[str, Any]) -> str:
        """Return a token, as `generate_db_auth_token` of a client would, which takes longer to create."""
        from botocore.awsrequest import prepare_request_dict  # type: ignore[import-untyped]  # botocore ships no types
        from botocore.hooks import HierarchicalEmitter  # type: ignore[import-untyped]  # botocore ships no types
        from botocore.model import ServiceId  # type: ignore[import-untyped]  # botocore ships no types
        from botocore.signers import RequestSigner  # type: ignore[import-untyped]  # botocore ships no types

        session, credentials = self._credentials(path)
        region = row.get("region") or session.region_name
        if not region:
            raise misconfigured("NoRegionError")
        events = HierarchicalEmitter()  # the signer holds a weak reference
        signer = RequestSigner(ServiceId("RDS"), region, "rds-db", "v4", credentials, events)
        request: dict[str, Any] = {
            "url_path": "/",
            "query_string": "",
            "headers": {},
            "body": {"Action": "connect", "DBUser": row["user"]},
            "method": "GET",
        }
        prepare_request_dict(request, f"https://{row['host']}:{row['port']}")
        url = str(signer.generate_presigned_url(request, "connect", expires_in=LIFE))
        return url.removeprefix("https://")
