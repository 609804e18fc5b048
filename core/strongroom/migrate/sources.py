"""How a migration reads a store or an importer, which secrets it selects, and how it writes to an exporter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import NamedTuple, NoReturn, TypeAlias

from strongroom._boundary import answers
from strongroom._boundary.guard import GuardedStore
from strongroom._boundary.watchdog import Watchdog
from strongroom.errors import (
    ConflictError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StrongroomError,
    UnsupportedOperationError,
    shown,
)
from strongroom.migrate._execution.parallel import OutageWatch, delete_each, read_each
from strongroom.migrate._plans.labels import own
from strongroom.migrate.spi import Exporter, Failure, Importer, MigrationOutcome
from strongroom.paths import ROTATION_RECORD, check_path, check_prefix, is_rotation_record
from strongroom.rotate.state import parse_document, pending_path
from strongroom.secret import Secret, Value, Version, check_data, check_labels
from strongroom.store import Items

UNREADABLE = "an exporter cannot be read back"
_MOST_READ = 100
"""So many of the last secrets are known to an error of an importer."""
RESERVED = "the path is reserved for the record of a rotation"


@dataclass(frozen=True)
class Selection:
    """The secrets of a source that a migration takes, and their paths at the target.

    Attributes:
        from_prefix: take only secrets in this folder of the source, and drop it from their paths.
        to_prefix: put all secrets into this folder of the target.
        include: shell patterns on whole source paths, in which `*` also matches slashes; empty takes all secrets.
        exclude: shell patterns of secrets to leave out.
        rename: source path -> target path. Both are whole paths, to which the prefixes do not apply.
        paths: take exactly these secrets, without listing the source; empty takes all. Planning raises the error of
            one that cannot be migrated.
    """

    from_prefix: str = ""
    to_prefix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("from_prefix", "to_prefix"):
            object.__setattr__(self, name, check_prefix(getattr(self, name)))

    def takes(self, path: str) -> bool:
        """Return True if the secret at this source path is selected. The record of a rotation never is."""
        return not is_rotation_record(path) and self._matches(path)

    def takes_rotated(self, record: str) -> bool:
        """Return True if the path is that of the rotation record of a selected secret."""
        return is_rotation_record(record) and self._matches(record.removesuffix(ROTATION_RECORD))

    def _matches(self, path: str) -> bool:
        if self.paths and path not in self.paths:
            return False
        if self.from_prefix and not path.startswith(f"{self.from_prefix}/"):
            return False
        if self.include and not any(fnmatchcase(path, pattern) for pattern in self.include):
            return False
        return not any(fnmatchcase(path, pattern) for pattern in self.exclude)

    def target_path(self, path: str) -> str:
        """Return the target path for a source path."""
        if path in self.rename:
            return self.rename[path]
        below = path.removeprefix(f"{self.from_prefix}/") if self.from_prefix else path
        return f"{self.to_prefix}/{below}" if self.to_prefix else below


def rotation_fault(path: str, record: Secret | StoreError, store: str) -> StoreError | None:
    """Return the error that forbids to copy a secret, or None.

    A ConflictError says that its rotation is unfinished. The pending credential can be the only one that works then.

    Args:
        path: the secret's path.
        record: the answer for `pending_path(path)`.
        store: the store's name.
    """
    if isinstance(record, StoreError):
        # A path that the store refuses, such as one that is too long, has no record.
        return None if isinstance(record, SecretNotFoundError | InvalidPathError) else record
    try:
        state = parse_document(record.data, record.path)
    except StoreError as error:
        return error.copy(store=store)
    if not state.unfinished or state.of_service:  # a service keeps the pending credential itself
        return None
    hint = f"Finish it with strongroom rotate resume {shown(path)}, or undo it, and try again"
    return ConflictError(path, "its rotation is unfinished", store=store, hint=hint)


def read_only(store: str, path: str | None = None) -> UnsupportedOperationError:
    """Return the error of a deletion at a source that cannot delete."""
    hint = (
        "Run `strongroom migrate verify`, then delete the secrets by hand: the lines of a .env file, or the variables "
        "where they are set"
    )
    return UnsupportedOperationError(path, "it is read-only", store=store, hint=hint)


class Listing(NamedTuple):
    """The paths of a source, and a function that returns the secret or the error of each of some paths."""

    paths: frozenset[str]
    read: Callable[[Sequence[str]], Mapping[str, Secret | StrongroomError]]


class StoreSource:
    """A store as a source. A path that is listed but absent, such as a deleted secret, is skipped.

    Raises:
        UnsupportedOperationError: it issues a credential on every read.
    """

    unmapped: Sequence[Failure] = ()

    def __init__(self, front: GuardedStore, name: str) -> None:
        if "dynamic" in front.capabilities:
            reason = "it issues a new credential on every read, so it cannot be migrated"
            raise UnsupportedOperationError(None, reason, store=front.name)
        self.name = name
        self.local = "local" in front.capabilities
        self.versioned = "versioned" in front.capabilities
        self.deletable = "writable" in front.capabilities
        self._front = front
        self._records: list[str] = []

    def items(self, selection: Selection) -> Iterator[Secret | Failure]:
        """Yield every selected secret with its labels, in bounded memory.

        Raises:
            UnsupportedOperationError: it cannot be listed.
        """
        labels: dict[str, Mapping[str, str]] = {}
        self._records.clear()
        for path in filter(is_rotation_record, selection.paths):
            yield Failure(path, UnsupportedOperationError(path, RESERVED, store=self.name))
        for path, outcome in read_each(self._front, self._taken(selection, labels), OutageWatch()):
            listed = labels.pop(path, None)
            if isinstance(outcome, Secret):
                if selection.paths:  # no listing has given the labels that a read leaves out
                    listed = known_labels(self, outcome)
                yield replace(outcome, metadata={**outcome.metadata, **listed}) if listed else outcome
            elif selection.paths or not isinstance(outcome, SecretNotFoundError):
                yield Failure(path, outcome)

    def rotated(self) -> Iterator[tuple[str, StoreError | None]]:
        """Yield the path of each selected secret with a rotation record, and its `rotation_fault`.

        The records are those that the last `items` has listed, or those of secrets that the selection names.
        """
        for place, record in read_each(self._front, self._records, OutageWatch()):
            if not isinstance(record, SecretNotFoundError):
                path = place.removesuffix(ROTATION_RECORD)
                yield path, rotation_fault(path, record, self.name)

    def read_again(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Yield each path with its current secret or error, in any order. `labels` may have to fetch its labels."""
        return read_each(self._front, paths, OutageWatch())

    def listing(self, selection: Selection) -> Listing:
        """Return the selected paths, and how they are read.

        Raises:
            UnsupportedOperationError: it cannot be listed.
        """
        taken = filter(selection.takes, self._front.walk(selection.from_prefix))
        return Listing(frozenset(taken), lambda paths: dict(self.read_again(paths)))

    def labels(self, secret: Secret) -> dict[str, str]:
        """Return the labels of a secret from `read_again`."""
        return labels_of(self._front, secret)

    def history(self, path: str) -> tuple[list[Secret], int]:
        """Return every version that has data, oldest first, and the number of those without.

        Raises:
            UnsupportedOperationError: the store keeps no versions.
            StoreError: they cannot be read.
        """
        found = self._front.versions(path)
        kept = [info.version for info in found if not (info.deleted or info.destroyed)]
        return [self._front.read_version(path, version) for version in kept], len(found) - len(kept)

    def cautions(self, path: str) -> tuple[str, ...]:
        return self._front.cautions(path)

    def delete_many(self, paths: Sequence[str]) -> Iterator[tuple[str, StoreError | None]]:
        """Delete secrets. Yield each path with None or its error, in any order. An absent secret counts as deleted."""
        return delete_each(self._front, paths)

    def _taken(self, selection: Selection, labels: dict[str, Mapping[str, str]]) -> Iterator[str]:
        """Yield the selected paths, and collect the labels that the listing has for them."""
        if selection.paths:
            taken = list(filter(selection.takes, selection.paths))
            if "checked" in self._front.capabilities:  # others have no rotations
                self._records += map(pending_path, taken)
            yield from taken
            return
        if "listable" not in self._front.capabilities:
            raise UnsupportedOperationError(None, "it cannot be listed", store=self._front.name)
        for path, listed in self._front.walk_labels(selection.from_prefix):
            if selection.takes(path):
                if listed:
                    labels[path] = listed
                yield path
            elif selection.takes_rotated(path):
                self._records.append(path)


class ImporterSource:
    """An importer as a source. Each use reads it anew, as a whole.

    `limit` is the seconds for each item; None is the default.

    Attributes:
        unmapped: the entries without a mapping that the last use found.

    Raises:
        PluginError: the importer needs a newer protocol.
    """

    def __init__(self, importer: Importer, name: str, limit: float | None = None) -> None:
        self.name = name
        self.versioned = False
        self.deletable = False
        self.unmapped: list[Failure] = []
        self._importer = importer
        self._watchdog = Watchdog(importer, name, "importer", limit)
        self.local = self._watchdog.traits.local is True

    def items(self, selection: Selection) -> Iterator[Secret | Failure]:
        absent = set(selection.paths)
        for item in self._items():
            name = item.name if isinstance(item, Failure) else item.path
            if (isinstance(item, Failure) and not selection.paths) or selection.takes(name):
                absent.discard(name)
                yield item
            elif isinstance(item, Secret) and selection.takes_rotated(item.path):
                yield Failure(item.path, UnsupportedOperationError(item.path, RESERVED, store=self.name))
        for path in absent:
            yield Failure(path, SecretNotFoundError(path, store=self.name))

    def rotated(self) -> Iterator[tuple[str, StoreError | None]]:
        return iter(())

    def read_again(self, paths: Sequence[str]) -> Iterator[tuple[str, Secret | StrongroomError]]:
        """Yield each path with its current secret or error. This reads the whole importer."""
        wanted = dict.fromkeys(paths)
        for item in self._items():
            name = item.name if isinstance(item, Failure) else item.path
            if name in wanted:
                del wanted[name]
                yield name, item.error if isinstance(item, Failure) else item
        for path in wanted:
            yield path, SecretNotFoundError(path, store=self.name)

    def listing(self, selection: Selection) -> Listing:
        """Return the selected paths. All their secrets are read now."""
        found: dict[str, Secret | StrongroomError] = {}
        for item in self.items(selection):
            if isinstance(item, Secret):
                found[item.path] = item
            elif not item.unmapped and selection.takes(item.name):
                found[item.name] = item.error
        return Listing(
            frozenset(found), lambda paths: {path: found.get(path, SecretNotFoundError(path)) for path in paths}
        )

    def labels(self, secret: Secret) -> dict[str, str]:
        return dict(secret.metadata)

    def history(self, path: str) -> NoReturn:
        raise UnsupportedOperationError(path, "it has no versions", store=self.name)

    def cautions(self, path: str) -> tuple[str, ...]:
        del path
        return ()

    def delete_many(self, paths: Sequence[str]) -> Iterator[tuple[str, StoreError | None]]:
        return ((path, read_only(self.name, path)) for path in paths)

    def close(self) -> None:
        self._watchdog.close()

    def _items(self) -> Iterator[Secret | Failure]:
        """Yield the importer's items, checked, each within the deadline."""
        watch = OutageWatch()
        self.unmapped = []
        read: deque[object] = deque(maxlen=_MOST_READ)
        for item in self._watchdog.stream(
            None, "items", self._importer.items, partial(self._item_of, read), known=read
        ):
            if isinstance(item, Failure):
                watch.observe(item.error)
                self.unmapped += [item] * item.unmapped
            else:
                watch.observe(item)
            yield item

    def _item_of(self, read: deque[object], answer: object) -> Secret | Failure:
        """Return an item of the importer; a failure if it is a secret that no store could hold.

        `read` gets the data of a secret.
        """
        try:
            item = check_item(answer)
        except StoreError as error:
            return Failure(error.path or "", error.copy(store=error.store or self.name))
        if isinstance(item, Secret):
            read.append(item.data)
            return item
        failure = self._watchdog.translated(item.error, None, read)
        if isinstance(failure, StrongroomError):
            return item._replace(error=failure)
        raise failure


Source: TypeAlias = StoreSource | ImporterSource
"""A source of secrets."""


class ExporterStore:
    """An exporter as a target. It cannot be read: every secret is new to it, and nothing is verified or undone."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    @classmethod
    def guarded(cls, exporter: Exporter, name: str, limit: float | None = None) -> GuardedStore:
        """Return an exporter as a guarded store, whose errors name the exporter. It has `limit` seconds for a call.

        Raises:
            PluginError: the exporter needs a newer protocol.
        """
        return GuardedStore(cls(exporter), name, Watchdog(exporter, name, "exporter", limit))

    def read(self, path: str) -> NoReturn:
        raise SecretNotFoundError(path, UNREADABLE)

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        for path in paths:
            yield path, SecretNotFoundError(path, UNREADABLE)

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        outcome = next(self.write_many([(path, data)]), (path, StoreError(path, "the exporter reported no result")))[1]
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        written = self._exporter.write(Secret(path, data) for path, data in items)
        for outcome in map(check_outcome, answers.as_iterator(written, "write")):
            error = outcome.error
            if error is not None and not isinstance(error, StoreError):
                error = StoreError(outcome.path, str(error))
            yield outcome.path, outcome.version if error is None else error

    def delete(self, path: str) -> NoReturn:
        raise UnsupportedOperationError(path, "an exporter cannot delete")

    def close(self) -> None:
        self._exporter.close()


def check_outcome(answer: object) -> MigrationOutcome:
    """Return an outcome of an exporter, if it is one."""
    if not isinstance(answer, MigrationOutcome):
        raise answers.unexpected("write", answer, "MigrationOutcome", "an item")
    answers.check_fields("write", answer, path=str, version=int | str | None, error=StrongroomError | None)
    return answer


def check_item(item: object) -> Secret | Failure:
    """Return an item of an importer, if a store could hold it.

    The error of a failure must be one of ours, since the message of another may hold a value.

    Raises:
        InvalidPathError, InvalidDataError: no store could.
        AnswerError: it is of another type, or a part of it is.
    """
    if isinstance(item, Secret):
        check_path(item.path)
        check_data(item.path, item.data)
        check_labels(item.path, item.metadata)
        return answers.as_secret(item, "items", item.path)
    if not isinstance(item, Failure):
        raise answers.unexpected("items", item, "Secret or Failure", "an item")
    answers.check_fields("items", item, name=str, error=StrongroomError)
    return item


def known_labels(source: Source, secret: Secret) -> dict[str, str]:
    """Return the labels, or none if access is denied: reading labels can need another permission."""
    try:
        return source.labels(secret)
    except PermissionDeniedError:
        return {}


def labels_of(front: GuardedStore, secret: Secret) -> dict[str, str]:
    """Return the labels that came with a secret of this store, or fetch them if none came.

    Raises:
        StoreError: they cannot be fetched.
    """
    came = dict(secret.metadata)
    if own(came) or "versioned" not in front.capabilities:
        return came
    return {**came, **front.read_metadata(secret.path)}
