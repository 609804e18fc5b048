"""The store `aws-sts`: temporary credentials of roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from strongroom.errors import ConfigurationError
from strongroom.formats.durations import ALLOWED, parse_duration
from strongroom.store import Health, Option, Traits, checked_by
from strongroom.store.issuer import Issued, IssuingStore, read_rows
from strongroom_aws.errors import malformed
from strongroom_aws.plugin import EndpointUrl, Profile, Region, open_service
from strongroom_aws.service import CREDENTIAL_VARIABLES, Service

_SHORTEST, _USUAL, _LONGEST = 900, 3600, 43200
"""Seconds for which STS gives credentials of a role."""

_PATTERNS = {
    "role": (r"arn:[\w-]+:iam::\d{12}:role/[\w+=,.@/-]+", "the ARN of a role"),
    "session": (r"[\w+=,.@-]{2,64}", "2 to 64 letters, digits or =,.@-"),
    "external_id": (r"[\w+=,.@:/-]{2,1224}", "2 to 1224 letters, digits or =,.@:/-"),
}
"""Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html."""


class RoleRow(NamedTuple):
    """One row of `paths`: the parameters of AssumeRole, and the seconds that it asks for."""

    parameters: Mapping[str, Any]
    duration: int


def read_roles(paths: Mapping[str, Any]) -> dict[str, RoleRow]:
    """Return the rows of the option `paths`.

    Raises:
        ConfigurationError: the option is empty, or a row is malformed.
    """
    rows: dict[str, RoleRow] = {}
    for path, row in read_rows(paths, ("role",), ("session", "external_id", "duration")).items():
        where = f"paths: {path!r}"
        for key, (pattern, means) in _PATTERNS.items():
            if key in row and not (isinstance(row[key], str) and re.fullmatch(pattern, row[key])):
                raise ConfigurationError(f"{where}: '{key}' must be {means}")
        duration = parse_duration(row.get("duration", _USUAL))
        if duration is None:
            raise ConfigurationError(f"{where}: 'duration' must be {ALLOWED}")
        if not _SHORTEST <= duration <= _LONGEST:
            raise ConfigurationError(f"{where}: 'duration' must be from 15m to 12h")
        parameters = {"RoleArn": row["role"], "RoleSessionName": row.get("session", "strongroom")}
        if "external_id" in row:
            parameters["ExternalId"] = row["external_id"]
        rows[path] = RoleRow(parameters, int(duration))
    return rows


def check_sts(*, paths: Mapping[str, Any], **_: object) -> None:
    """Check the options of `open_sts` without boto3."""
    read_roles(paths)


@checked_by(check_sts)
def open_sts(
    *,
    paths: Annotated[
        dict[str, Any],
        Option("path -> the role: { role }, its ARN, and perhaps session, external_id and duration", locates=True),
    ],
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> StsCredentials:
    """Temporary credentials of roles, from AWS Security Token Service.

    boto3 finds the identity that assumes the role: variables, a profile, SSO, a web identity, the role of a machine.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    return StsCredentials(open_service("sts", region, profile, endpoint_url), read_roles(paths))


class StsCredentials(IssuingStore[RoleRow]):
    """Secrets with `access_key`, `secret_key` and `security_token`, as the engine `aws` of Vault writes them.

    Args:
        service: STS.
        rows: path -> the role.
    """

    traits = Traits(credential_variables=CREDENTIAL_VARIABLES, honors_deadline=True, lasting=True)

    def __init__(self, service: Service, rows: Mapping[str, RoleRow]) -> None:
        super().__init__(rows)
        self._service = service

    def issue(self, path: str, row: RoleRow) -> Issued:
        reply = self._service.call("assume_role", path, **row.parameters, DurationSeconds=row.duration)
        found = reply.get("Credentials")
        names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "security_token": "SessionToken"}
        if not isinstance(found, Mapping) or not all(found.get(name) for name in names.values()):
            raise malformed(path)
        return Issued({key: found[name] for key, name in names.items()}, row.duration)

    def probe(self) -> Health:
        """Return the identity that assumes the roles. No role is assumed."""
        reply = self._service.call("get_caller_identity", None)
        identity = str(reply.get("Arn", "unknown"))
        return Health(ok=True, detail=f"open: STS in {self._service.region}", facts={"identity": identity})

    def close(self) -> None:
        super().close()
        self._service.close()
