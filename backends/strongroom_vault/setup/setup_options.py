"""The options of `strongroom vault setup`, and the rules between them. Pure."""

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

_ROLE_NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
"""The names that a server accepts in the API path of a role."""

_TTL, _MAX_TTL = 3600, 4 * 3600
"""Lifetime of a login's token, and its maximum, in seconds: the guide's."""


@dataclass(frozen=True)
class SetupOptions:
    """The options as click parsed them; durations are seconds."""

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
        """The policies of the application."""
        return [f"{self.policy_prefix}{name}" for name in dict.fromkeys(self.grant or structure.DEFAULT_GRANTS)]

    @property
    def delivers_token(self) -> bool:
        """True if a token has a destination."""
        return not (self.approle or self.kubernetes_role) and bool(self.env_file or self.reveal)

    @property
    def delivers_secret_id(self) -> bool:
        """True if a secret_id has a destination."""
        return bool(self.approle) and bool(self.secret_id_file or self.reveal)

    @property
    def wrap_duration(self) -> str | None:
        """Lifetime of the wrapping token as Vault writes durations; None for a bare secret_id."""
        return f"{self.wrap_ttl}s" if self.wrap_ttl else None

    def role(self) -> Role | None:
        """Return the requested role, if any.

        Raises:
            click.UsageError: options contradict each other, or a name is invalid.
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
                raise click.UsageError("--service-account must be NAMESPACE/NAME")
            fields |= {"bound_service_account_names": [account], "bound_service_account_namespaces": [namespace]}
            fields |= {"audience": self.audience} if self.audience else {}
        if not _ROLE_NAME.fullmatch(name):
            raise click.UsageError(
                f"Invalid role name {shown(name)}: use letters, digits and '_', with '-' and '.' between them only"
            )
        _check_name("--auth-mount", mount)
        return Role(method, mount, name, fields)

    def _check(self) -> None:
        role = self.approle or self.kubernetes_role
        if self.policy_prefix:
            _check_name("--policy-prefix", f"{self.policy_prefix}x", segments=1)
        for wrong, message in (
            (self.approle and self.kubernetes_role, "--approle and --kubernetes-role exclude each other"),
            (bool(self.kubernetes_role) != bool(self.service_account), "--kubernetes-role needs --service-account"),
            (self.audience and not self.kubernetes_role, "--audience needs --kubernetes-role"),
            (self.secret_id_file and not self.approle, "--secret-id-file needs --approle"),
            (self.auth_mount and not role, "--auth-mount needs --approle or --kubernetes-role"),
            (self.env_file and role, "--env-file is for a token; the settings for a role are printed"),
            (self.token_ttl < 1, "--token-ttl must be one second or more"),
        ):
            if wrong:
                raise click.UsageError(message)


def _check_name(option: str, value: str, *, segments: int = 0) -> None:
    try:
        check_path(value)
    except InvalidPathError as error:
        fault = error.reason
    else:
        fault = "it must not contain a slash" if segments and value.count("/") >= segments else ""
    if fault:
        raise click.UsageError(f"{option}: {fault}")
