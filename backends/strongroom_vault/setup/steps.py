"""The steps from a server's present state to the wanted one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from strongroom_vault.http.hvac_adapter import ApiRequest, requests
from strongroom_vault.policy.document import same

DESCRIPTION = "description"
"""The key of a path's custom metadata that describes what belongs there."""


class State(StrEnum):
    """The present state of the thing that a step creates."""

    EXISTS = "exists"
    MISSING = "missing"
    DIFFERS = "differs"
    SKIPPED = "skipped"


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
class Goal:
    """The wanted state of a server.

    Attributes:
        mount: the mount of the key-value engine.
        prefix: the prefix of every path, `""` or `like/this`.
        policies: name -> accepted texts. If the server refuses one text, the next is tried.
        structure: path -> description of what belongs there.
        audit_file: the file on the server's machine that an audit device shall write, if any.
        role: the role that the application logs in with, if any.
    """

    mount: str
    prefix: str = ""
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structure: Mapping[str, str] = field(default_factory=dict)
    audit_file: str | None = None
    role: Role | None = None

    def below_mount(self, path: str) -> str:
        """Return the path below the mount."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def metadata_path(self, path: str) -> str:
        """Return the API path of a secret's metadata."""
        return f"{self.mount}/metadata/{self.below_mount(path)}"


@dataclass(frozen=True)
class ServerState:
    """The present state of a server.

    Attributes:
        mounted: a key-value engine of version 2 is at the mount.
        policies: name -> text of the policies that exist.
        structure: the paths that exist, deleted secrets included.
        audit: the files and other targets of the audit devices; None if the token may not list them.
        method: the type of the auth method at the role's mount; None if nothing is mounted there.
        role: the fields of the role; None if it does not exist.
        configured: the role's auth method has the configuration that it needs to check a login.
        denied: API paths that the token cannot read, although the plan depends on them.
    """

    mounted: bool = False
    policies: Mapping[str, str] = field(default_factory=dict)
    structure: frozenset[str] = frozenset()
    audit: tuple[str, ...] | None = None
    method: str | None = None
    role: Mapping[str, Any] | None = None
    configured: bool = True
    denied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One thing that the server shall have.

    Attributes:
        name: the thing, for messages.
        state: its present state.
        detail: the difference, or the reason why it is skipped.
        difference: the difference line by line, for a text.
        requests: the requests that create it. If the server refuses one with HTTP 400, the next is tried.
        rights: API path -> the capabilities that the step needs.
        optional: a refusal by the server does not end the run.
        starts_engine: the engine that is mounted needs a moment before it can be used.
    """

    name: str
    state: State
    detail: str = ""
    difference: tuple[str, ...] = ()
    requests: tuple[ApiRequest, ...] = field(default=(), repr=False)
    rights: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    optional: bool = False
    starts_engine: bool = False

    @property
    def pending(self) -> bool:
        """True if the step changes the server."""
        return self.state in {State.MISSING, State.DIFFERS}


def plan(goal: Goal, found: ServerState) -> tuple[Step, ...]:
    """Return the steps in the order in which they are performed: the audit device first, so that it logs the others."""
    return (
        *_audit(goal, found),
        _mount(goal, found),
        *(_policy(name, texts, found.policies.get(name)) for name, texts in goal.policies.items()),
        *(_path(goal, found, path) for path in goal.structure),
        *_role(goal, found),
    )


def target(path: str) -> str:
    """Return the request target of an API path, for a request that hvac has no method for."""
    return f"/v1/{quote(path)}"


def _step(name: str, state: State, request: ApiRequest, path: str, *capabilities: str, detail: str = "") -> Step:
    if state is State.EXISTS:
        return Step(name, state)
    return Step(name, state, detail, requests=(request,), rights={path: frozenset(capabilities)})


def _exists(exists: bool) -> State:  # noqa: FBT001  # it is converted, and switches nothing
    return State.EXISTS if exists else State.MISSING


def _audit(goal: Goal, found: ServerState) -> Iterator[Step]:
    file = goal.audit_file
    if file is None:
        if found.audit is None:
            yield Step("audit device", State.SKIPPED, "the token may not list audit devices")
        elif not found.audit:
            yield Step(
                "audit device", State.SKIPPED, "there is none. Add --audit-file, such as /var/log/vault/audit.log"
            )
        else:
            yield Step("audit device", State.EXISTS)
    elif found.audit is not None:
        device = "-".join(part for part in file.split("/") if part) or "file"
        request = requests().system.enable_audit_device(
            "file", path=device, options={"file_path": file, "mode": "0600"}
        )
        state = _exists(file in found.audit)
        step = _step(f"audit device to {file}", state, request, f"sys/audit/{device}", "update", "sudo")
        yield replace(step, optional=True)


def _mount(goal: Goal, found: ServerState) -> Step:
    request = requests().system.enable_secrets_engine("kv", path=goal.mount, options={"version": "2"})
    step = _step(
        f"KV version 2 at {goal.mount}/", _exists(found.mounted), request, f"sys/mounts/{goal.mount}", "update"
    )
    return replace(step, starts_engine=True)


def _policy(name: str, texts: tuple[str, ...], current: str | None) -> Step:
    title = f"policy {name}"
    if current is not None and any(same(current, text) for text in texts):
        return Step(title, State.EXISTS)
    write = requests().system.create_or_update_acl_policy
    step = Step(
        title,
        State.MISSING,
        requests=tuple(write(name, policy=text, pretty_print=False) for text in texts),
        rights={f"sys/policies/acl/{name}": {"update"}},
    )
    if current is None:
        return step
    lines = unified_diff(current.splitlines(), texts[0].splitlines(), "current", "wanted", lineterm="", n=0)
    return replace(step, state=State.DIFFERS, detail="its text differs", difference=tuple(lines))


def _path(goal: Goal, found: ServerState, path: str) -> Step:
    """Return the step that creates a path without a value.

    A key-value engine has no empty folders, and a placeholder value would be served as the secret. So the step writes
    metadata only: a path with metadata and no version reads as not found. Nothing is written to a path that exists,
    even if its secret was deleted.
    """
    api_path = goal.metadata_path(path)
    # hvac's update_metadata cannot send metadata_cas. 0 means that there is no metadata yet, for an engine that demands
    # check-and-set of metadata too.
    content = {"custom_metadata": {DESCRIPTION: goal.structure[path]}, "metadata_cas": 0}
    request = ApiRequest("POST", target(api_path), content)
    return _step(f"path {path}", _exists(path in found.structure), request, api_path, "create")


def _role(goal: Goal, found: ServerState) -> Iterator[Step]:
    role = goal.role
    if role is None:
        return
    enable = requests().system.enable_auth_method(role.method, path=role.mount)
    title = f"auth method {role.method} at auth/{role.mount}/"
    yield _step(title, _exists(found.method is not None), enable, f"sys/auth/{role.mount}", "update", "sudo")
    if not found.configured:
        hint = f"it cannot check a login yet: bao write auth/{role.mount}/config kubernetes_host=…"
        yield Step(f"configuration of auth/{role.mount}/", State.SKIPPED, hint)
    title = f"{role.method} role {role.name}"
    current = found.role
    if current is None:
        step = _step(title, State.MISSING, _write_role(role), role.path, "create")
        role_id = {f"{role.path}/role-id": {"read"}} if role.method == "approle" else {}
        yield replace(step, rights={**step.rights, **role_id})
        return
    differing = [name for name, value in role.fields.items() if _ordered(current.get(name)) != _ordered(value)]
    detail = "; ".join(f"{name} is {_text(current.get(name))}, not {_text(role.fields[name])}" for name in differing)
    state = State.DIFFERS if differing else State.EXISTS
    yield _step(title, state, _write_role(role), role.path, "update", detail=detail)


def _write_role(role: Role) -> ApiRequest:
    if role.method == "approle":
        return requests().approle.create_or_update_approle(role.name, mount_point=role.mount, **role.fields)
    # hvac's create_role sends the deprecated fields ttl, max_ttl and policies, which the server stores separately.
    return ApiRequest("POST", target(role.path), role.fields)


def _ordered(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) else value


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
