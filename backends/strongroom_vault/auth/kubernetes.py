"""The token of the pod's service account, which Vault verifies with the cluster's TokenReview."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from strongroom_vault.auth import Grant, Send
from strongroom_vault.auth.credential import from_file
from strongroom_vault.auth.login import log_in
from strongroom_vault.http.hvac_adapter import requests

# https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes mounts the token of a pod's service account."""

_HINT = "Check `role`, and that it names the pod's service account, its namespace, and the token's audience"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """The method `kubernetes`.

    Attributes:
        role: the role to log in as.
        token_file: the service account's token, which Kubernetes replaces while the pod runs.
        mount: the method's mount path.
        namespace: the method's namespace of Vault; None for the store's, `""` for the root.
    """

    role: str
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"
    namespace: str | None = None
    repeatable: ClassVar[bool] = True  # Kubernetes replaces the token in the file

    def login(self, send: Send) -> Grant:
        """Return a new token, for the service account's current token."""
        return log_in(
            send,
            requests().kubernetes.login(self.role, from_file(self.token_file, "token_file"), mount_point=self.mount),
            mount=self.mount,
            namespace=self.namespace,
            credentials="the service account's token for this role",
            hint=_HINT,
        )
