"""The process environment as a store: read at each read, never changed."""

from __future__ import annotations

import os
from collections.abc import Mapping

from strongroom.config.env_names import EnvironmentMapping
from strongroom_env.variables import Variables


class EnvironmentStore(Variables):
    """The variables of this process, by the mapping's names."""

    def __init__(self, mapping: EnvironmentMapping) -> None:
        super().__init__(mapping, "the environment")

    def variables(self, path: str | None) -> Mapping[str, str]:  # noqa: ARG002  # the environment can always be read
        """The live environment, so that what a test or a framework sets later is seen."""
        return os.environ


def open_env(*, mapping: EnvironmentMapping) -> EnvironmentStore:
    """The process environment.

    Args:
        mapping: which variable stands for which path and key.
    """
    return EnvironmentStore(mapping)
