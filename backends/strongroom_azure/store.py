"""The store of Azure Key Vault, which maps one secret there to one secret here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import (
    Check,
    CheckState,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.paths import entries_below
from strongroom.secret import Secret, SensitiveStr, Value, Version
from strongroom.store import Health, Items, Traits, VersionInfo, remaining
from strongroom.store.concurrency import read_each, write_each
from strongroom.store.one_value import VALUE, FoldOption, Form, fold, form_in, labels_of, unfold
from strongroom_azure.errors import DELETED, RECOVERING, DisabledError, NameTakenError, malformed
from strongroom_azure.names import check_name, check_size, check_tags, path_of

if TYPE_CHECKING:
    from azure.keyvault.secrets import DeletedSecret, KeyVaultSecret, SecretClient, SecretProperties

    from strongroom_azure.client import Client

CREDENTIAL_VARIABLES = (
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
"""The variables in which the SDK finds a credential itself. Others, such as AZURE_CLIENT_ID, name one."""

_JSON = "application/json"
_VERSION = re.compile(r"[0-9a-f]{32}")
PAUSE = 0.5
"""Seconds between two looks at a secret that Key Vault is deleting or recovering."""
_ALL = 1_000_000
"""More versions than anybody writes: Key Vault drops none."""


class Standing(NamedTuple):
    """Form and properties of the newest version before a write; None for a new secret."""

    form: Form | None
    properties: SecretProperties | None


class KeyVaultStore:
    """Secrets in Azure Key Vault.

    A delete deletes all versions of a secret, which can be recovered together until the vault purges them. One
    version can be disabled, which the history shows as deleted.

    Args:
        client: calls the vault.
        vault: the name or address of the vault, for people.
        prefix: the prefix of every path, `""` or `like/this`.
        fold_option: the form for a secret of the single key `value`.
        restore: a write to a deleted secret recovers it first.
    """

    traits = Traits(credential_variables=CREDENTIAL_VARIABLES)

    def __init__(
        self, client: Client[SecretClient], vault: str, prefix: str, fold_option: FoldOption, *, restore: bool
    ) -> None:
        self._client = client
        self._vault = vault
        self._prefix = prefix
        self._fold = fold_option
        self._restore = restore

    def __repr__(self) -> str:
        return f"KeyVaultStore({self._vault!r})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        """Return the newest version.

        Raises:
            SecretNotFoundError: it does not exist, or it is deleted.
            PermissionDeniedError: access is denied, or the newest version is disabled.
        """
        return _secret(path, self._get(path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        """Yield each path with its secret or error, with concurrent requests."""
        return read_each(self.read, paths)

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names directly below `prefix`, those of disabled secrets too."""
        yield from entries_below(self.walk(prefix), prefix)

    def walk(self, prefix: str) -> Iterator[str]:
        """Yield the path of every secret below `prefix`. Key Vault lists all secrets of the vault, 25 a request."""
        skipped = len(self._prefix) + 1 if self._prefix else 0
        folder = "/".join(filter(None, (self._prefix, prefix)))
        start = f"{folder}/" if folder else ""
        pages = self._client.call(prefix or None, lambda sdk: sdk.list_properties_of_secrets().by_page())
        for page in self._pages(prefix or None, pages):
            for properties in page:
                if (path := path_of(properties.name or "")).startswith(start):
                    yield path[skipped:]

    def probe(self) -> Health:
        """Return whether the vault answers, and whether its secrets can be listed."""
        began = time.monotonic()
        checks = [Check("reachable", CheckState.OK), Check("authenticated", CheckState.OK)]
        try:
            pages = self._client.call(None, lambda sdk: sdk.list_properties_of_secrets(max_page_size=1).by_page())
            self._client.call(None, lambda _: list(next(pages, ())))
        except PermissionDeniedError:
            hint = "Grant `list`, or ignore this: secrets are read without it"
            checks.append(Check("listing", CheckState.WARNING, "`list` is denied, so secrets cannot be listed", hint))
        latency = time.monotonic() - began
        checks[0] = checks[0]._replace(detail=f"{self._vault}, {latency * 1000:.1f} ms for one request")
        facts = {"vault": self._vault, "latency": f"{latency:.4f}"}
        return Health(ok=True, detail=f"open: Key Vault {self._vault}", facts=facts, checks=tuple(checks))

    def close(self) -> None:
        self._client.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version:
        """Set a new version. It keeps the tags of the newest one, and neither its expiry nor its start.

        Raises:
            ConflictError: the secret is deleted, and the option `restore` is off.
            SecretTooLargeError: more than 25,600 bytes in the form in which it would be stored.
        """
        return self._write(path, data, None)

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version:
        """Write in the form that the label `strongroom:fold` names, by default JSON."""
        return self._write(path, data, form_in(form) or Form.KEYS)

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        """Write concurrently; yield each path with its new version or error."""
        return write_each(self.write, items)

    def delete(self, path: str) -> None:
        """Delete the secret with all its versions. They can be recovered until the vault purges them."""
        name = self._name(path)
        self._change(path, lambda sdk: sdk.begin_delete_secret(name), lambda: not self._is_there(path))

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        """Check the name and the size, and that the secret is not deleted."""
        self._name(path)
        self._content(path, data, None, self._standing(path) if self._depends_on_form(data) else Standing(None, None))
        if self._restore:
            return
        try:
            deleted = self._deleted(path)
        except PermissionDeniedError:
            return
        if deleted is not None:
            raise NameTakenError(path, "it is deleted", hint="Restore it with `undelete`, or set the option `restore`")

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        check_tags(labels, path)

    def cautions(self, path: str) -> Sequence[str]:
        """Return cautions about a certificate, an expiry, a start and a content type."""
        try:
            properties = self._standing(path).properties
        except PermissionDeniedError:
            return ["its expiry and its content type are unknown: access is denied"]
        return list(_cautions(properties)) if properties is not None else []

    # --- versions and labels ------------------------------------------------------------------------------------------

    def versions(self, path: str) -> Sequence[VersionInfo]:
        """Return the versions, oldest first, disabled ones as deleted. Of a deleted secret, the newest alone is known.

        Key Vault tells whole seconds, so the order of versions of one second is unknown, except for the newest.
        """
        if found := self._properties(path):
            return [VersionInfo(str(one.version), one.created_on, deleted=one.enabled is False) for one in found]
        deleted = self._deleted(path)
        if deleted is None:
            raise SecretNotFoundError(path)
        newest = deleted.properties
        return [VersionInfo(str(newest.version), newest.created_on, deleted=True, deleted_at=deleted.deleted_date)]

    def read_version(self, path: str, version: Version) -> Secret:
        """Return this version.

        Raises:
            SecretNotFoundError: there is no such version, or the secret is deleted.
            PermissionDeniedError: access is denied, or the version is disabled.
        """
        if not _VERSION.fullmatch(str(version)):
            self._get(path)  # a denial or an outage comes first
            raise SecretNotFoundError(path, "no version has that name: one has 32 hexadecimal digits")
        return _secret(path, self._get(path, str(version)))

    def kept_versions(self, path: str) -> int:
        """Return a large number: Key Vault drops no version."""
        self.versions(path)
        return _ALL

    def undelete(self, path: str, version: Version) -> None:
        """Recover a deleted secret with all its versions, by its newest version. Enable a disabled version."""
        if (deleted := self._deleted(path)) is not None:
            _check_newest(path, deleted, version)
            self._recover(path)
            if not self._wait_for(path):
                raise StoreUnavailableError(path, "its recovery has begun, and is not complete", hint="Wait for it")
        elif self._version(path, version).enabled is False:
            self._update(path, str(version), enabled=True)

    def destroy(self, path: str, version: Version) -> None:
        """Purge a deleted secret with all its versions, by its newest version.

        Raises:
            SecretNotFoundError: there is no such version.
            UnsupportedOperationError: the secret is not deleted: Key Vault cannot destroy a single version.
        """
        name = self._name(path)
        if (deleted := self._deleted(path)) is not None:
            _check_newest(path, deleted, version)
            self._change(path, lambda sdk: sdk.purge_deleted_secret(name), lambda: self._deleted(path) is None)
            return
        self._version(path, version)
        hint = "Delete the secret, and destroy the version that its history shows then, which purges all of them"
        raise UnsupportedOperationError(path, "Key Vault cannot destroy a single version", hint=hint)

    def read_metadata(self, path: str) -> Mapping[str, str]:
        """Return the tags of the newest version."""
        properties = self._standing(path).properties
        if properties is None:
            if (deleted := self._deleted(path)) is None:
                raise SecretNotFoundError(path)
            properties = deleted.properties
        return dict(properties.tags or {})

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        """Replace the tags of the newest version."""
        self._update(path, tags=check_tags(metadata, path))

    # --- requests -----------------------------------------------------------------------------------------------------

    def _name(self, path: str) -> str:
        return check_name(path, self._prefix)

    def _get(self, path: str, version: str | None = None) -> KeyVaultSecret:
        name = self._name(path)
        found = self._client.call(path, lambda sdk: sdk.get_secret(name, version))
        if isinstance(found.value, str) and (found.name or "").lower() == name and found.properties.version:
            return found
        del found  # the frame of an error shows its address
        raise malformed(path)

    def _standing(self, path: str) -> Standing:
        """Return the state of the newest version; that of a disabled one is in the list of versions alone."""
        try:
            found = self._get(path)
        except SecretNotFoundError:
            return Standing(None, None)
        except DisabledError:
            newest = self._properties(path)[-1]
            return Standing(None if newest.content_type == _JSON else Form.TEXT, newest)
        return Standing(unfold(found.value or "")[0], found.properties)

    def _properties(self, path: str) -> list[SecretProperties]:
        """Return the properties of each version, oldest first; none if the secret is deleted or does not exist."""
        name = self._name(path)
        pages = self._client.call(path, lambda sdk: sdk.list_properties_of_secret_versions(name).by_page())
        try:
            found = [properties for page in self._pages(path, pages) for properties in page]
        except SecretNotFoundError:
            return []
        found.sort(key=_age)
        if len(found) > 1 and _age(found[-1]) == _age(found[-2]):
            try:
                newest = self._get(path).properties.version
            except DisabledError:
                return found
            found.sort(key=lambda one: (_age(one), one.version == newest))
        return found

    def _pages(self, path: str | None, pages: Iterator[Iterator[SecretProperties]]) -> Iterator[list[SecretProperties]]:
        """Yield each page, and request it within a separate call."""
        while (page := self._client.call(path, lambda _: _next(pages))) is not None:
            yield page

    def _version(self, path: str, version: Version) -> SecretProperties:
        for properties in self._properties(path):
            if properties.version == version:
                return properties
        raise SecretNotFoundError(path, f"version {version} does not exist")

    def _deleted(self, path: str) -> DeletedSecret | None:
        name = self._name(path)
        try:
            return self._client.call(path, lambda sdk: sdk.get_deleted_secret(name))
        except SecretNotFoundError:
            return None

    def _recover(self, path: str) -> None:
        name = self._name(path)
        self._change(path, lambda sdk: sdk.begin_recover_deleted_secret(name), lambda: self._deleted(path) is None)

    def _is_there(self, path: str) -> bool:
        try:
            self._get(path)
        except SecretNotFoundError:
            return False
        except PermissionDeniedError:
            return True  # it is disabled, or this identity may not read
        return True

    def _change(self, path: str, send: Callable[[SecretClient], object], is_made: Callable[[], bool]) -> None:
        """Change the secret. If the reply is lost, look if the change was made."""
        self._client.call(path, lambda sdk: send(sdk) or True, changes=True, settle=lambda: is_made() or None)

    def _update(self, path: str, *version: str, **properties: Any) -> None:
        name = self._name(path)

        def send(sdk: SecretClient) -> object:
            return sdk.update_secret_properties(name, *version, **properties)

        self._client.call(path, send, changes=True, repeatable=True)

    def _write(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        while True:
            try:
                return self._put(path, data, form)
            except NameTakenError as error:
                failure = error.copy()
            if not self._restore or not self._settle(path, failure.state):
                raise failure

    def _settle(self, path: str, state: str) -> bool:
        """Recover a deleted secret, and wait until it can be written. Return False if the time is over.

        A write before the end of a recovery would not find the tags.
        """
        if state == DELETED:
            try:
                self._recover(path)
            except (NameTakenError, SecretNotFoundError):
                return _pause()  # another client recovers or purges it
        elif state != RECOVERING:
            return _pause()
        return self._wait_for(path)

    def _wait_for(self, path: str) -> bool:
        """Wait for the end of a recovery. Return False if the time is over."""
        while not self._is_there(path):
            if not _pause():
                return False
        return True

    def _put(self, path: str, data: Mapping[str, Value], form: Form | None) -> Version:
        name, standing = self._name(path), self._standing(path)
        content, kind = self._content(path, data, form, standing)
        before = standing.properties
        tags = before.tags if before is not None else None
        if before is not None:
            _wait_out_second(before)

        def send(sdk: SecretClient) -> str:
            if version := sdk.set_secret(name, content, tags=tags, content_type=kind).properties.version:
                return version
            raise malformed(path)

        def settle() -> str | None:
            found = self._get(path)
            is_new = before is None or found.properties.version != before.version
            return found.properties.version if is_new and found.value == content else None

        return self._client.call(path, send, changes=True, settle=settle)

    def _depends_on_form(self, data: Mapping[str, Value]) -> bool:
        return set(data) == {VALUE} and isinstance(data[VALUE], str) and self._fold == "keep"

    def _content(
        self, path: str, data: Mapping[str, Value], form: Form | None, standing: Standing
    ) -> tuple[SensitiveStr, str | None]:
        """Return the value and the content type for these keys, in the form that is asked for or configured."""
        if form is None:
            form = {"keep": standing.form, "plain": Form.TEXT, "json": Form.KEYS}[self._fold]
        content = SensitiveStr(fold(data, Form.TEXT if form is Form.TEXT else None))
        check_size(content, path)
        if unfold(content)[0] is Form.KEYS:
            return content, _JSON
        kind = standing.properties.content_type if standing.properties is not None else None
        return content, kind if kind != _JSON else None


def _secret(path: str, found: KeyVaultSecret) -> Secret:
    form, data = unfold(found.value or "")
    properties = found.properties
    return Secret(path, data, properties.version, properties.created_on, {**(properties.tags or {}), **labels_of(form)})


def _next(pages: Iterator[Iterator[SecretProperties]]) -> list[SecretProperties] | None:
    page = next(pages, None)
    return None if page is None else list(page)


def _age(properties: SecretProperties) -> datetime:
    return properties.created_on or datetime.min.replace(tzinfo=UTC)


def _wait_out_second(newest: SecretProperties) -> None:
    """Wait until the second of the newest version is over, if there is time: the order of two in one is unknown."""
    left = _age(newest).timestamp() + 1 - time.time()
    if 0 < left < remaining():
        time.sleep(min(left, 1))


def _check_newest(path: str, deleted: DeletedSecret, version: Version) -> None:
    if deleted.properties.version != version:
        reason = f"it is deleted, and its newest version {deleted.properties.version} stands for all"
        raise SecretNotFoundError(path, reason)


def _cautions(properties: SecretProperties) -> Iterator[str]:
    if properties.managed:
        yield "it belongs to a certificate of Key Vault, which renews it: a copy goes stale"
    if properties.expires_on:
        yield f"its expiry on {properties.expires_on:%Y-%m-%d} is not carried"
    if properties.not_before:
        yield f"its start on {properties.not_before:%Y-%m-%d} is not carried"
    if properties.content_type not in {None, "", _JSON}:
        yield "its content type is not carried"


def _pause() -> bool:
    """Wait a moment. Return False, at once, if the call has no time for that."""
    if remaining() <= PAUSE:
        return False
    time.sleep(PAUSE)
    return True
