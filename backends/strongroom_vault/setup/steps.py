"""The steps that prepare a server for an application: what it has, what is missing and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from difflib import unified_diff
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.policy.document import same

if TYPE_CHECKING:
    from strongroom_vault.setup.server import Server

DESCRIPTION = "description"
"""The key of a path's custom metadata that describes what belongs there."""


class State(StrEnum):
    """The present state of the thing that a step creates."""

    EXISTS = "exists"
    MISSING = "missing"
    DIFFERS = "differs"


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


@dataclass(frozen=True)
class Step:
    """One thing that the server shall have.

    Attributes:
        name: the thing, for messages.
        state: its present state.
        detail: how it differs, or a hint, in one line.
        difference: the difference line by line, for a text.
        requests: the requests that create it. If the server refuses one with HTTP 400, the next is tried.
        rights: API path -> the capabilities that the step needs.
        ready: a request that an engine answers with HTTP 400 until it can be used.
    """

    name: str
    state: State
    detail: str = ""
    difference: tuple[str, ...] = ()
    requests: tuple[ApiRequest, ...] = field(default=(), repr=False)
    rights: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    ready: ApiRequest | None = None

    @property
    def pending(self) -> bool:
        """True if the step changes the server."""
        return self.state is not State.EXISTS


def plan(
    server: Server,
    mount: str,
    *,
    policies: Mapping[str, tuple[str, ...]],
    prefix: str = "",
    structure: Mapping[str, str] | None = None,
    role: Role | None = None,
) -> list[Step]:
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
        StoreError: the server did not answer.
    """
    below = f"{prefix}/" if prefix else ""
    return [
        _engine(server, mount, below + next(iter(structure or {}), "strongroom")),
        *(_policy(server, name, texts) for name, texts in policies.items()),
        *(_path(server, mount, path, below + path, about) for path, about in (structure or {}).items()),
        *(_role(server, role) if role is not None else ()),
    ]


def _engine(server: Server, mount: str, path: str) -> Step:
    name = f"KV version 2 at {mount}/"
    if server.has_engine(mount):
        return Step(name, State.EXISTS)
    enable = requests().system.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    ready = requests().kv2.read_secret_metadata(path, mount_point=mount)
    return Step(name, State.MISSING, requests=(enable,), rights={f"sys/mounts/{mount}": {"update"}}, ready=ready)


def _policy(server: Server, name: str, texts: tuple[str, ...]) -> Step:
    path = f"sys/policies/acl/{name}"
    found = server.read(requests().system.read_acl_policy(name), path)
    current = "" if found is None else str(found.get("policy", ""))
    if found is not None and any(same(current, text) for text in texts):
        return Step(f"policy {name}", State.EXISTS)
    write = requests().system.create_or_update_acl_policy
    lines = unified_diff(current.splitlines(), texts[0].splitlines(), "current", "wanted", lineterm="", n=0)
    return Step(
        f"policy {name}",
        State.MISSING if found is None else State.DIFFERS,
        "" if found is None else "its text differs",
        () if found is None else tuple(lines),
        requests=tuple(write(name, policy=text, pretty_print=False) for text in texts),
        rights={path: {"update"}},
    )


def _path(server: Server, mount: str, name: str, path: str, description: str) -> Step:
    """Return the step that creates a path without a value.

    A key-value engine has no empty folders, and a placeholder value would be served as the secret. So the step writes
    metadata only: a path with metadata and no version reads as not found. Nothing is written to a path that exists,
    even if its secret was deleted.
    """
    read = requests().kv2.read_secret_metadata(path, mount_point=mount)
    api_path = f"{mount}/metadata/{path}"
    if server.read(read, api_path) is not None:
        return Step(f"path {name}", State.EXISTS)
    # hvac's update_metadata cannot send metadata_cas. 0 means that there is no metadata yet, for an engine that demands
    # check-and-set of metadata too.
    write = read._replace(method="POST", content={"custom_metadata": {DESCRIPTION: description}, "metadata_cas": 0})
    return Step(f"path {name}", State.MISSING, requests=(write,), rights={api_path: {"create"}})


def _role(server: Server, role: Role) -> Iterator[Step]:
    method = f"auth method {role.method} at auth/{role.mount}/"
    if server.has_method(role.method, role.mount):
        yield Step(method, State.EXISTS)
    else:
        enable = requests().system.enable_auth_method(role.method, path=role.mount)
        hint = (
            f"configure it: bao write auth/{role.mount}/config kubernetes_host=…" if role.method == "kubernetes" else ""
        )
        rights = {f"sys/auth/{role.mount}": {"update", "sudo"}}
        yield Step(method, State.MISSING, hint, requests=(enable,), rights=rights)
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
        yield Step(name, State.EXISTS)
        return
    rights = {role.path: {"create" if current is None else "update"}}
    if role.method == "approle":
        write = requests().approle.create_or_update_approle(role.name, mount_point=role.mount, **role.fields)
        rights[f"{role.path}/role-id"] = {"read"}
    else:
        # hvac's create_role sends the deprecated fields ttl, max_ttl and policies, which the server stores separately.
        write = read._replace(method="POST", content=role.fields)
    state = State.MISSING if current is None else State.DIFFERS
    yield Step(name, state, "; ".join(differing), requests=(write,), rights=rights)


def _ordered(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
