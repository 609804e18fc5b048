"""A contained store that validates its arguments. Separate from the guard: the chain has validated its own."""

# each method is that of the guard, which has the docstring

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, final

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import StoreError
from strongroom.paths import check_key, check_path, check_prefix
from strongroom.secret import Secret, Value, Version, check_data, check_labels, check_version, conceal
from strongroom.store.protocols import CheckedItems, Items, VersionInfo

_R = TypeVar("_R")


@final
class ValidatedStore(GuardedStore):
    """A `GuardedStore` that validates and conceals what it is given, for migrations, the command line and contracts.

    Paths of a listing or of a plan may be invalid. A bulk operation yields an invalid item with its error.
    """

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, path: str) -> Secret:
        return super().read(check_path(path))

    def read_key(self, path: str, key: str) -> Value:
        return super().read_key(check_path(path), check_key(key, path))

    def read_many(self, paths: Iterable[str]) -> Iterator[tuple[str, Secret | StoreError]]:
        return _valid(super().read_many, ((path,) for path in paths), check_path)

    def list_entries(self, prefix: str = "") -> Iterator[str]:
        return super().list_entries(check_prefix(prefix))

    def walk(self, prefix: str = "") -> Iterator[str]:
        return super().walk(check_prefix(prefix))

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, path: str, data: Mapping[str, Value]) -> Version | None:
        data = conceal(data)
        return super().write(check_path(path), check_data(path, data))

    def write_if(self, path: str, data: Mapping[str, Value], expected: Version | None) -> Version | None:
        data = conceal(data)
        return super().write_if(check_path(path), check_data(path, data), expected)

    def write_many(self, items: Items) -> Iterator[tuple[str, Version | StoreError | None]]:
        return _valid(super().write_many, map(_concealed, items), _item)

    def write_many_if(self, items: CheckedItems) -> Iterator[tuple[str, Version | StoreError | None]]:
        return _valid(super().write_many_if, map(_concealed, items), _item)

    def delete(self, path: str) -> None:
        super().delete(check_path(path))

    def delete_many(self, paths: Iterable[str]) -> Iterator[tuple[str, StoreError | None]]:
        return _valid(super().delete_many, ((path,) for path in paths), check_path)

    # --- versions -----------------------------------------------------------------------------------------------------

    def versions(self, path: str) -> list[VersionInfo]:
        return super().versions(check_path(path))

    def newest_versions(self, paths: Iterable[str]) -> Iterator[tuple[str, VersionInfo | StoreError]]:
        return _valid(super().newest_versions, ((path,) for path in paths), check_path)

    def read_version(self, path: str, version: Version) -> Secret:
        return super().read_version(check_path(path), check_version(path, version))

    def kept_versions(self, path: str) -> int:
        return super().kept_versions(check_path(path))

    def undelete(self, path: str, version: Version) -> None:
        super().undelete(check_path(path), check_version(path, version))

    def destroy(self, path: str, version: Version) -> None:
        super().destroy(check_path(path), check_version(path, version))

    def read_metadata(self, path: str) -> dict[str, str]:
        return super().read_metadata(check_path(path))

    def write_metadata(self, path: str, metadata: Mapping[str, str]) -> None:
        super().write_metadata(check_path(path), check_labels(path, metadata))

    # --- hints for migrations -----------------------------------------------------------------------------------------

    def vet(self, path: str, data: Mapping[str, Value]) -> None:
        data = conceal(data)
        super().vet(check_path(path), check_data(path, data))

    def vet_labels(self, path: str, labels: Mapping[str, str]) -> None:
        super().vet_labels(check_path(path), check_labels(path, labels))

    def cautions(self, path: str) -> tuple[str, ...]:
        return super().cautions(check_path(path))

    def write_formed(self, path: str, data: Mapping[str, Value], form: Mapping[str, str]) -> Version | None:
        data = conceal(data)
        return super().write_formed(check_path(path), check_data(path, data), form)

    def walk_labels(self, prefix: str = "") -> Iterator[tuple[str, Mapping[str, str]]]:
        return super().walk_labels(check_prefix(prefix))


def _valid(
    operation: Callable[[Iterator[Any]], Iterator[tuple[str, _R]]],
    items: Iterable[tuple[Any, ...]],
    check: Callable[..., object],
) -> Iterator[tuple[str, _R | StoreError]]:
    """Yield what a bulk operation yields for the valid items, and each other item with its error.

    Args:
        operation: takes the items as `check` returns them.
        items: the arguments of each item, the path first.
        check: returns the item, or raises the error.
    """
    refused: deque[tuple[str, StoreError]] = deque()

    def valid() -> Iterator[object]:
        for item in items:
            try:
                checked = check(*item)
            except StoreError as error:
                refused.append((item[0], error))
                continue
            yield checked

    for outcome in operation(valid()):
        while refused:
            yield refused.popleft()
        yield outcome
    yield from refused


def _item(path: str, data: Mapping[str, Value], *rest: object) -> tuple[object, ...]:
    return check_path(path), check_data(path, data), *rest


def _concealed(item: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an item of a bulk write with its data concealed: no frame keeps the caller's values."""
    path, data, *rest = item
    return path, conceal(data), *rest
