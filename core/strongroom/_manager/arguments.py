"""Arguments of the manager."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from strongroom.errors import ConfigurationError, InvalidPathError, shown
from strongroom.paths import check_path
from strongroom.store import SecretStore

if TYPE_CHECKING:
    from strongroom._manager.declared_types import DeclaredTypes

ChainEntry: TypeAlias = "str | Mapping[str, object] | SecretStore"


def api_key_path(service: str) -> str:
    """Return the path of a service's API key."""
    return f"api-keys/{check_path(service)}"


def strings(paths: Iterable[Any]) -> list[str]:
    """Return the paths, if all are strings: others may not even be keys of the result."""
    if isinstance(paths, str | bytes) or not isinstance(paths, Iterable):
        raise TypeError(f"paths is a collection of paths, not {type(paths).__name__}: for one secret call get_secret")
    return [path if isinstance(path, str) else check_path(path) for path in paths]


def check_separate(path: object, key: object, call: str) -> None:
    """Refuse `PATH#KEY` in a call that takes the key as an argument: its type would be that of a whole secret.

    Args:
        path: the argument.
        key: the argument. With it, the path may have a `#`.
        call: the function's name, for the message.

    Raises:
        InvalidPathError: its hint is the call to write instead.
    """
    if key is None and isinstance(path, str) and "#" in path:
        above, _, name = path.rpartition("#")
        hint = f'Call {call}("{shown(above)}", "{shown(name)}")' if above and name else "Pass the path without #"
        raise InvalidPathError(path, "it has a #, and the key is an argument of its own", hint=hint)


def check_read(path: str, key: str | None, as_: Any, types: DeclaredTypes, call: str) -> None:
    """Check the arguments of a read. Raise TypeError if `as_` is not a type for them, or see `check_separate`."""
    check_separate(path, key, call)
    if as_ is not None and types.file_name(path, key, as_) is None:
        from strongroom._manager.conversion import check_type

        check_type(as_, whole=key is None)


def check_flag(name: str, value: object) -> None:
    """Refuse a flag that is not a bool: text from a variable, such as "false", would count as true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, not {type(value).__name__}")


# --- the argument `chain`, which may have open stores ----------------------------------------------------------------


def open_stores(chain: Sequence[ChainEntry]) -> dict[str, SecretStore]:
    """Return the open stores in a chain, by names made of their classes."""
    stores: dict[str, SecretStore] = {}
    for place, entry in enumerate(chain, 1):
        if not isinstance(entry, str | Mapping):
            _check_store(entry, f"The argument chain: entry {place}")
            base = type(entry).__name__.removesuffix("Store").lower() or "store"
            count = sum(name.partition("-")[0] == base for name in stores)
            stores[f"{base}-{count + 1}" if count else base] = entry
    return stores


def _check_store(entry: object, place: str) -> None:
    if isinstance(entry, type) or not isinstance(entry, SecretStore):
        given = f"the class {entry.__name__}" if isinstance(entry, type) else f"of type {type(entry).__name__}"
        raise ConfigurationError(f"{place} is not a store but {given}: give a name, a table or an open store")


def chain_entries(chain: Sequence[ChainEntry], stores: Mapping[str, SecretStore]) -> list[str | Mapping[str, object]]:
    """Return the argument as a configuration file has it: open stores by their names."""
    names = {id(store): name for name, store in stores.items()}
    return [entry if isinstance(entry, str | Mapping) else names[id(entry)] for entry in chain]
