"""The base class of the stores of variables: names from the mapping, and the rules for missing values."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping

from strongroom.errors import SecretNotFoundError
from strongroom.formats.variables import EnvironmentMapping, is_service_link, variable_value
from strongroom.paths import entries_below
from strongroom.secret import Secret, Value, protect
from strongroom.store import Traits

logger = logging.getLogger("strongroom.env")

_SHOWN_NAMES = 8


class VariableStore(ABC):
    """Variables as secrets, one variable for each key.

    An empty variable counts as missing, because some CI systems set absent secrets to it. So does a service link of
    Kubernetes, which is skipped with one warning for each name.

    Args:
        mapping: the names.
        origin: the source of the variables, for messages: "the environment", a file.
    """

    traits = Traits(local=True)

    def __init__(self, mapping: EnvironmentMapping, origin: str) -> None:
        self._mapping = mapping
        self._origin = origin
        self._warned: dict[str, object] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._origin!r})"

    @abstractmethod
    def variables(self, path: str | None) -> Mapping[str, str]:
        """Return all current variables.

        Raises:
            SecretNotFoundError: the source does not exist, so no variable is set.
        """

    def read(self, path: str) -> Secret:
        """Return the keys of the table at this path whose variables are set. The open rule cannot list keys."""
        names = self._mapping.keys(path)
        if not names:
            raise SecretNotFoundError(
                path, "no variable is known for the whole secret", hint="Ask for one key, or list its keys in [secrets]"
            )
        variables = self.variables(path)
        data = {key: value for key, name in names.items() if (value := self._usable(name, variables)) is not None}
        if not data:
            raise SecretNotFoundError(path, f"{_none_set(names.values())} in {self._origin}")
        return Secret(path=path, data=data)

    def read_key(self, path: str, key: str) -> Value:
        """Return the variable of this path and key, by the table or by the open rule if it is enabled."""
        name = self._mapping.variable(path, key)
        if name is None:
            raise SecretNotFoundError(path, f"no variable stands for key {key!r}")
        variables = self.variables(path)
        value = self._usable(name, variables)
        if value is None:
            raise SecretNotFoundError(path, f"{name} is {_why_not(variables.get(name))} in {self._origin}")
        return value

    def list_entries(self, prefix: str) -> Iterator[str]:
        """Yield the names of the table below the prefix whose variables are set."""
        try:
            variables = self.variables(prefix or None)
        except SecretNotFoundError:
            return
        start = f"{prefix}/" if prefix else ""
        located = ((path, name) for path, _, name in self._mapping.present(variables) if path.startswith(start))
        set_ones = (path for path, name in located if self._usable(name, variables) is not None)
        yield from sorted(entries_below(set_ones, prefix))

    def close(self) -> None:  # noqa: B027  # subclasses hold no resource
        pass  # no resource is held

    def _usable(self, name: str, variables: Mapping[str, str]) -> Value | None:
        value = variables.get(name)
        if not value:
            return None
        if is_service_link(name, value):
            mark = object()
            if self._warned.setdefault(name, mark) is mark:  # the first thread
                logger.warning("%s in %s is skipped: it holds a Kubernetes service link", name, self._origin)
            return None
        return protect(variable_value(value))


def _why_not(value: str | None) -> str:
    return "not set" if value is None else "a Kubernetes service link" if value else "empty"


def _none_set(names: Collection[str]) -> str:
    """Return a message that none of these is set, cut if they are many."""
    shown = ", ".join(list(names)[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
    return f"{shown} is not set" if len(names) == 1 else f"none of {shown} is set"
