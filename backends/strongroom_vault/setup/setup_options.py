"""The options of `strongroom vault setup`, checked together. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from strongroom.errors import InvalidPathError, shown
from strongroom.paths import check_path
from strongroom_vault.setup import structure
from strongroom_vault.setup.steps import Role

_ROLE = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
"""A role's name, as a server routes it: another one has no API path, which is found out when it is to be made."""

_TTL, _MAX_TTL = 3600, 4 * 3600
"""The life of a login's token, in seconds: the guide's."""


@dataclass(frozen=True)
class Given:
    """The options of the command."""

    store: str | None
    url: str | None
    mount: str | None
    namespace: str | None
    dry_run: bool
    yes: bool
    policy_prefix: str
    grant: tuple[str, ...]
    audit_file: str | None
    env_file: Path | None
    token_ttl: int
    approle: str | None
    secret_id_file: Path | None
    wrap_ttl: int
    kubernetes_role: str | None
    service_account: str | None
    audience: str | None
    auth_mount: str | None
    reveal: bool
    as_json: bool

    @property
    def policies(self) -> list[str]:
        """What the application is given."""
        return [f"{self.policy_prefix}{name}" for name in dict.fromkeys(self.grant or structure.GRANTED)]

    @property
    def wants_token(self) -> bool:
        """Whether there is somebody to take a token."""
        return not (self.approle or self.kubernetes_role) and bool(self.env_file or self.reveal)

    @property
    def wants_secret_id(self) -> bool:
        """Whether there is somebody to take a secret_id."""
        return bool(self.approle) and bool(self.secret_id_file or self.reveal)

    @property
    def wrapping(self) -> str | None:
        """The life of the wrapping token, as Vault writes it; None where there is to be none."""
        return f"{self.wrap_ttl}s" if self.wrap_ttl else None

    def role(self) -> Role | None:
        """The role that is asked for, if one is.

        Raises:
            click.UsageError: options do not go together, or a name cannot be one.
        """
        self._check()
        method, name = ("approle", self.approle) if self.approle else ("kubernetes", self.kubernetes_role)
        if not name:
            return None
        mount = (self.auth_mount or method).strip("/").removeprefix("auth/")
        fields: dict[str, Any] = {"token_policies": self.policies, "token_ttl": _TTL, "token_max_ttl": _MAX_TTL}
        if method == "kubernetes":
            namespace, _, account = (self.service_account or "").partition("/")
            if not (namespace and account):
                raise click.UsageError("--service-account is NAMESPACE/NAME")
            fields |= {"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace]}
            fields |= {"audience": self.audience} if self.audience else {}
        if not _ROLE.fullmatch(name):
            raise click.UsageError(
                f"the name of the role: {shown(name)} is not of letters, digits, '_', and '-' or '.' between them"
            )
        _check_name("--auth-mount", mount)
        return Role(method, mount, name, fields)

    def _check(self) -> None:
        role = self.approle or self.kubernetes_role
        if self.policy_prefix:
            _check_name("--policy-prefix", f"{self.policy_prefix}x", segments=1)
        for wrong, words in (
            (self.approle and self.kubernetes_role, "--approle and --kubernetes-role are two ways to log in: give one"),
            (bool(self.kubernetes_role) != bool(self.service_account), "--kubernetes-role needs --service-account"),
            (self.audience and not self.kubernetes_role, "--audience goes with --kubernetes-role"),
            (self.secret_id_file and not self.approle, "--secret-id-file goes with --approle"),
            (self.auth_mount and not role, "--auth-mount goes with --approle or --kubernetes-role"),
            (self.env_file and role, "--env-file is for a token: what a role needs is printed"),
            (self.token_ttl < 1, "--token-ttl must be one second or more"),
        ):
            if wrong:
                raise click.UsageError(words)


def _check_name(option: str, value: str, *, segments: int = 0) -> None:
    try:
        check_path(value)
    except InvalidPathError as error:
        fault = error.reason
    else:
        fault = "it has a slash" if segments and value.count("/") >= segments else ""
    if fault:
        raise click.UsageError(f"{option}: {fault}")
