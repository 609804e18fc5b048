"""Loading entry points with stevedore. A separate module, imported when the first plugin is loaded.

Both managers get their entry points from the caller, who has made sure that no two distributions claim one name:
stevedore would run the modules of both before it sees the conflict. They also keep stevedore away from its own list,
a cache file in the user's cache folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

from strongroom.store.boundary.containment import is_interrupt


class _LateModule(ModuleType):
    """A module that is imported when one of its attributes is used."""

    def __getattr__(self, name: str) -> object:
        self.leave()
        return getattr(import_module(self.__name__), name)

    def leave(self) -> None:
        """Let the next import of the name find the module itself."""
        if sys.modules.get(self.__name__) is self:
            sys.modules.pop(self.__name__, None)


@contextmanager
def _late(name: str) -> Iterator[None]:
    """Give modules that are imported in the block a `_LateModule` for a module that they import."""
    module = _LateModule(name)
    sys.modules.setdefault(name, module)
    try:
        yield
    finally:
        module.leave()


# The module of that cache file imports OpenSSL for a file's name, which takes a twentieth of `strongroom get`. An
# application that uses stevedore too imports it then.
with _late("stevedore._cache"):
    from stevedore.driver import DriverManager
    from stevedore.extension import Extension, ExtensionManager


class _Driver(DriverManager[object]):
    def __init__(self, point: EntryPoint) -> None:
        self._point = point
        super().__init__(point.group, point.name)

    def list_entry_points(self) -> list[EntryPoint]:
        return [self._point]


class _Extensions(ExtensionManager[object]):
    def __init__(self, group: str, points: Sequence[EntryPoint]) -> None:
        self._points = points
        self.failures: dict[str, BaseException] = {}
        super().__init__(group)

    def list_entry_points(self) -> list[EntryPoint]:
        return list(self._points)

    def _load_one_plugin(
        self,
        ep: EntryPoint,
        invoke_on_load: bool,  # noqa: FBT001  # stevedore's signature
        invoke_args: tuple[Any, ...],
        invoke_kwds: dict[str, Any],
    ) -> Extension[object] | None:
        try:
            return super()._load_one_plugin(ep, invoke_on_load, invoke_args, invoke_kwds)
        except BaseException as error:
            if is_interrupt(error):
                raise
            self.failures[ep.name] = error  # stevedore itself would pass some on, and skip the other plugins
            return None


def load(point: EntryPoint) -> object:
    """Return the object that the entry point names. Errors of its module pass through."""
    return _Driver(point).driver


def load_all(group: str, points: Sequence[EntryPoint]) -> dict[str, object | BaseException]:
    """Return the object, or the error that loading it raised, of each entry point by its name."""
    manager = _Extensions(group, points)
    loaded: dict[str, object | BaseException] = {extension.name: extension.plugin for extension in manager}
    return loaded | manager.failures
