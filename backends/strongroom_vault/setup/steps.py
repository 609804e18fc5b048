"""From what a server has and what it should have to the steps in between. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from strongroom_vault.http.hvac_adapter import ApiRequest
from strongroom_vault.policy.document import same

DESCRIPTION = "description"
"""The custom metadata in which a path of the structure says what belongs there."""


class State(StrEnum):
    """How something is before anything is done about it."""

    THERE = "already there"
    MISSING = "missing"
    DIFFERS = "differs"
    LEFT = "not done"


@dataclass(frozen=True)
class Role:
    """A role of an authentication method.

    Attributes:
        method: the method's type, `approle` or `kubernetes`.
        mount: where it is mounted below `auth/`.
        name: the role's.
        fields: what is set in it, as the server reads it back: seconds and lists.
    """

    method: str
    mount: str
    name: str
    fields: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Its API path."""
        return f"auth/{self.mount}/role/{self.name}"


@dataclass(frozen=True)
class Wanted:
    """What a server should have.

    Attributes:
        mount: where the key-value engine is mounted.
        prefix: what every path is below, `""` or `like/this`.
        policies: name -> the texts that will do; each is tried where the server refuses the one before it.
        structure: path -> what belongs there.
        audit_file: where on the server's machine an audit device writes, if one is asked for.
        role: the role that an application logs in with, if one is asked for.
    """

    mount: str
    prefix: str = ""
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    structure: Mapping[str, str] = field(default_factory=dict)
    audit_file: str | None = None
    role: Role | None = None

    def below_mount(self, path: str) -> str:
        """The API path of what is known of a secret."""
        return "/".join(part for part in (self.mount, "metadata", self.prefix, path) if part)


@dataclass(frozen=True)
class Found:
    """What a server has.

    Attributes:
        mounted: there is a key-value engine of version 2 at the mount.
        policies: name -> text, of those that there are.
        structure: the paths that there are, also those whose secret was deleted.
        audit: the files and other ends of audit devices; None where the token may not see them.
        method: the type of what is mounted where the role's method should be, if something is.
        role: the role's fields, if there is one.
        configured: the role's method knows what it needs to check a login.
        denied: API paths that the token may not look at, although it must.
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
    """One thing that there should be.

    Attributes:
        what: it, in words.
        state: how it is.
        detail: what differs, or why it is left.
        lines: what differs, line by line, where it is a text.
        asks: what makes it so; each is tried where the server refuses what the one before it says.
        rights: API path -> every capability that this takes.
        optional: that the server refuses it ends nothing.
        starts: what is made takes a moment until it can be used.
    """

    what: str
    state: State
    detail: str = ""
    lines: tuple[str, ...] = ()
    asks: tuple[ApiRequest, ...] = field(default=(), repr=False)
    rights: Mapping[str, frozenset[str]] = field(default_factory=dict)
    optional: bool = False
    starts: bool = False

    @property
    def pending(self) -> bool:
        """Whether there is something to be done."""
        return self.state in {State.MISSING, State.DIFFERS}


def plan(wanted: Wanted, found: Found) -> tuple[Step, ...]:
    """The steps, in the order in which they are taken: what is written down comes before what is written there."""
    return (
        *_audit(wanted, found),
        _mount(wanted, found),
        *(_policy(name, texts, found.policies.get(name)) for name, texts in wanted.policies.items()),
        *(_place(wanted, found, path) for path in wanted.structure),
        *_role(wanted, found),
    )


def target(path: str) -> str:
    """The request's target for an API path."""
    return f"/v1/{quote(path)}"


def _step(what: str, path: str, state: State, content: Mapping[str, Any], rights: set[str], detail: str = "") -> Step:  # noqa: PLR0917  # the parts of one
    if state is State.THERE:
        return Step(what, state)
    asks = (ApiRequest("POST", target(path), content),)
    return Step(what, state, detail, asks=asks, rights={path: frozenset(rights)})


def _audit(wanted: Wanted, found: Found) -> Iterator[Step]:
    file = wanted.audit_file
    if file is None:
        if found.audit is None:
            yield Step("audit device", State.LEFT, "the token may not see whether there is one")
        elif not found.audit:
            yield Step("audit device", State.LEFT, "there is none: give --audit-file, such as /var/log/vault/audit.log")
        else:
            yield Step("audit device", State.THERE)
    elif found.audit is not None:
        state = State.THERE if file in found.audit else State.MISSING
        path = f"sys/audit/{'-'.join(part for part in file.split('/') if part) or 'file'}"
        content = {"type": "file", "options": {"file_path": file, "mode": "0600"}}
        step = _step(f"audit device to {file}", path, state, content, {"update", "sudo"})
        yield replace(step, optional=True)


def _mount(wanted: Wanted, found: Found) -> Step:
    state = State.THERE if found.mounted else State.MISSING
    content = {"type": "kv", "options": {"version": "2"}}
    step = _step(f"KV version 2 at {wanted.mount}/", f"sys/mounts/{wanted.mount}", state, content, {"update"})
    return replace(step, starts=True)


def _policy(name: str, texts: tuple[str, ...], there: str | None) -> Step:
    what, path = f"policy {name}", f"sys/policies/acl/{name}"
    if there is not None and any(same(there, text) for text in texts):
        return Step(what, State.THERE)
    step = Step(
        what,
        State.MISSING,
        asks=tuple(ApiRequest("POST", target(path), {"policy": text}) for text in texts),
        rights={path: frozenset({"update"})},
    )
    if there is None:
        return step
    lines = unified_diff(there.splitlines(), texts[0].splitlines(), "there", "wanted", lineterm="", n=0)
    return replace(step, state=State.DIFFERS, detail="its text is another", lines=tuple(lines))


def _place(wanted: Wanted, found: Found, path: str) -> Step:
    """A folder is what is below it, and a value that stands in for one would be served as one: so the path has none.

    What is written is what is known of a secret, and a path with that and without a version is not found. Where there
    is anything already, a deleted secret too, nothing is written.
    """
    state = State.THERE if path in found.structure else State.MISSING
    # The engine may demand check-and-set of metadata too, and 0 is that there are none.
    content = {"custom_metadata": {DESCRIPTION: wanted.structure[path]}, "metadata_cas": 0}
    return _step(f"place of {path}", wanted.below_mount(path), state, content, {"create"})


def _role(wanted: Wanted, found: Found) -> Iterator[Step]:
    role = wanted.role
    if role is None:
        return
    state = State.MISSING if found.method is None else State.THERE
    method = f"authentication {role.method} at auth/{role.mount}/"
    yield _step(method, f"sys/auth/{role.mount}", state, {"type": role.method}, {"update", "sudo"})
    if not found.configured:
        hint = f"tell it how to check a token: bao write auth/{role.mount}/config kubernetes_host=…"
        yield Step(f"configuration of auth/{role.mount}/", State.LEFT, hint)
    what = f"{role.method} role {role.name}"
    if found.role is None:
        step = _step(what, role.path, State.MISSING, role.fields, {"create"})
        told = {f"{role.path}/role-id": frozenset({"read"})} if role.method == "approle" else {}
        yield replace(step, rights={**step.rights, **told})
        return
    there = found.role
    others = [name for name, value in role.fields.items() if _ordered(there.get(name)) != _ordered(value)]
    detail = "; ".join(f"{name} is {_shown(there.get(name))}, not {_shown(role.fields[name])}" for name in others)
    yield _step(what, role.path, State.DIFFERS if others else State.THERE, role.fields, {"update"}, detail)


def _ordered(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else str(value)
