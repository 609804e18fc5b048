"""The steps that prepare a server for an application, each with the present state of the thing that it creates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from difflib import unified_diff
from typing import Any

from strongroom_vault.http.hvac_adapter import requests
from strongroom_vault.policy.document import same
from strongroom_vault.session.session import Session
from strongroom_vault.setup.server import Role, Server, State, Step, connect

DESCRIPTION = "description"
"""The key of a path's custom metadata that describes what belongs there."""


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


@contextmanager
def prepared(mount: str, policies: Mapping[str, tuple[str, ...]], **options: Any) -> Iterator[Session]:
    """Open a session, and create the engine and the policies without asking: for a development server.

    Raises:
        PluginError: a package is not installed.
        ConfigurationError: an option is invalid.
        StoreError: the server refused a step.
    """
    with closing(connect(mount=mount, **options)) as session:
        server = Server(session)
        for step in plan(server, mount, policies=policies):
            server.perform(step)
        yield session


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
