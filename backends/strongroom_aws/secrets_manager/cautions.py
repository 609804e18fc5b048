"""What AWS does for a secret of Secrets Manager beside keeping it, so that a copy of it would lack it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.errors import PermissionDeniedError
from strongroom_aws.secrets_manager.requests import SecretRequests

_OWN_KEY = "alias/aws/secretsmanager"


def cautions_of(requests: SecretRequests, path: str) -> list[str]:
    """In words: what goes stale, and what is not carried. What may not be looked at is said to be unknown."""
    try:
        described = requests.describe(path)
    except PermissionDeniedError:
        return ["whether AWS rotates or replicates it is not known: DescribeSecret is denied"]
    found = list(_described(described))
    try:
        if requests.call("get_resource_policy", path).get("ResourcePolicy"):
            found.append("its resource policy is not carried")
    except PermissionDeniedError:
        found.append("whether it has a resource policy is not known: GetResourcePolicy is denied")
    return found


def _described(described: Mapping[str, Any]) -> Iterator[str]:
    if described.get("RotationEnabled"):
        yield "AWS rotates it: a copy goes stale, and the rotation is not carried"
    if owner := described.get("OwningService"):
        yield f"the service {owner} owns it: a copy goes stale"
    if described.get("KmsKeyId") not in {None, "", _OWN_KEY}:
        yield "its KMS key is not carried"
    if described.get("ReplicationStatus"):
        yield "its replicas in other regions are not carried"
