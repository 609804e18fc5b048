"""The process environment as a store, never changed. A plugin of its own, so a module."""

from __future__ import annotations

import os
from collections.abc import Mapping

from strongroom.config.env_names import EnvironmentMapping
from strongroom_env.variables import VariableStore


class EnvironmentStore(VariableStore):
    """The variables of this process, by the mapping's names."""

    def __init__(self, mapping: EnvironmentMapping) -> None:
        super().__init__(mapping, "the environment")

    def variables(self, path: str | None) -> Mapping[str, str]:  # noqa: ARG002  # the environment can always be read
        """Return the live environment, so that later changes are seen."""
        return os.environ


def open_env(*, mapping: EnvironmentMapping) -> EnvironmentStore:
    """The process environment.

    Args:
        mapping: the variable of each path and key.
    """
    return EnvironmentStore(mapping)
