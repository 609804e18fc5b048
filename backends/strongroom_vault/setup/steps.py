"""The steps that prepare a server for an application, each with the present state of the thing that it creates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.setup.server import SetupServer, SetupStep, StepState


@dataclass(frozen=True)
class Role:
    """A role of an auth method.

    Attributes:
        method: the type of the auth method, `approle` or `kubernetes`.
        mount: the mount of the auth method, below `auth/`.
        name: the name of the role.
        fields: the fields of the role as the server returns them: seconds and lists.
    """

    method: str
    mount: str
    name: str
    fields: Mapping[str, Any]

    @property
    def path(self) -> str:
        """API path of the role."""
        return f"auth/{self.mount}/role/{self.name}"


def plan(
    server: SetupServer,
    mount: str,
    *,
    policies: Mapping[str, tuple[str, ...]],
    prefix: str,
    structure: Mapping[str, str],
    role: Role | None,
) -> list[SetupStep]:
    """Return the steps in the order in which they are performed. Nothing is changed.

    Args:
        server: the server.
        mount: the mount of the key-value engine.
        policies: name -> accepted texts. If the server refuses one text, the next is tried.
        prefix: the prefix of every path, `""` or `like/this`.
        structure: path -> description of what belongs there.
        role: the role that the application logs in with, if any.

    Raises:
        ConfigurationError: a mount has another type, or the namespace does not exist.
        StoreError: the token may not read the state of a thing, or the server did not answer.
    """
    below = f"{prefix}/" if prefix else ""
    return [
        _engine(server, mount, below + next(iter(structure))),
        *(_policy(server, name, texts) for name, texts in policies.items()),
        *(_path(server, mount, path, below + path, about) for path, about in structure.items()),
        *(_role(server, role) if role is not None else ()),
    ]


def _engine(server: SetupServer, mount: str, path: str) -> SetupStep:
    name = f"KV version 2 at {mount}/"
    if server.has_engine(mount):
        return SetupStep(name, StepState.EXISTS)
    enable = requests().system.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    ready = requests().kv2.read_secret_metadata(path, mount_point=mount)
    return SetupStep(name, StepState.MISSING, path=f"sys/mounts/{mount}", requests=(enable,), ready=ready)


def _policy(server: SetupServer, name: str, texts: tuple[str, ...]) -> SetupStep:
    path = f"sys/policies/acl/{name}"
    found = server.read(requests().system.read_acl_policy(name), path)
    current = "" if found is None else str(found.get("policy", ""))
    if found is not None and current in texts:
        return SetupStep(f"policy {name}", StepState.EXISTS)
    write = requests().system.create_or_update_acl_policy
    writes = tuple(write(name, policy=text, pretty_print=False) for text in texts)
    if found is None:
        return SetupStep(f"policy {name}", StepState.MISSING, path=path, requests=writes)
    lines = tuple(unified_diff(current.splitlines(), texts[0].splitlines(), "current", "wanted", lineterm="", n=0))
    return SetupStep(f"policy {name}", StepState.DIFFERS, "its text differs", lines, path=path, requests=writes)


def _path(server: SetupServer, mount: str, name: str, path: str, description: str) -> SetupStep:
    """Return the step that creates a path without a value.

    A key-value engine has no empty folders, and a placeholder value would be served as the secret. So the step writes
    metadata only: a path with metadata and no version reads as not found. Nothing is written to a path that exists,
    even if its secret was deleted.
    """
    read = requests().kv2.read_secret_metadata(path, mount_point=mount)
    api_path = f"{mount}/metadata/{path}"
    if server.read(read, api_path) is not None:
        return SetupStep(f"path {name}", StepState.EXISTS)
    # hvac's update_metadata cannot send metadata_cas. 0 means that there is no metadata yet, for an engine that demands
    # check-and-set of metadata too.
    write = read._replace(method="POST", content={"custom_metadata": {"description": description}, "metadata_cas": 0})
    return SetupStep(f"path {name}", StepState.MISSING, path=api_path, requests=(write,))


def _role(server: SetupServer, role: Role) -> Iterator[SetupStep]:
    method = f"auth method {role.method} at auth/{role.mount}/"
    if server.has_method(role.method, role.mount):
        yield SetupStep(method, StepState.EXISTS)
    else:
        enable = requests().system.enable_auth_method(role.method, path=role.mount)
        configure = f"configure it: bao write auth/{role.mount}/config kubernetes_host=…"
        hint = configure if role.method == "kubernetes" else ""
        yield SetupStep(method, StepState.MISSING, hint, path=f"sys/auth/{role.mount}", requests=(enable,))
    # Both methods keep a role at the same path, and hvac's Kubernetes class evaluates the reply itself.
    read = requests().approle.read_role(role.name, mount_point=role.mount)
    current = server.read(read, role.path)
    differing = [
        f"{name} is {_text(current.get(name))}, not {_text(wanted)}"
        for name, wanted in ({} if current is None else role.fields).items()
        if current is not None and _ordered(current.get(name)) != _ordered(wanted)
    ]
    name = f"{role.method} role {role.name}"
    if current is not None and not differing:
        yield SetupStep(name, StepState.EXISTS)
        return
    # hvac's Kubernetes class sends the deprecated fields ttl, max_ttl and policies, which the server stores separately.
    write = read._replace(method="POST", content=role.fields)
    state = StepState.MISSING if current is None else StepState.DIFFERS
    yield SetupStep(name, state, "; ".join(differing), path=role.path, requests=(write,))


def _ordered(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
