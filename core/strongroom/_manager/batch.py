"""The result of reading many secrets at once."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom._chain.resolution import Resolution
from strongroom.errors import StrongroomError
from strongroom.secret import SensitiveDict


class SecretBatch(dict[str, SensitiveDict]):
    """The secrets by path, with the error of every other path in `errors`.

    Attributes:
        errors: by path. `SecretNotFoundError` is a confirmed absence; an outage or a denial has its own class.
    """

    def __init__(self, outcomes: Mapping[str, Resolution | StrongroomError]) -> None:
        super().__init__(
            (path, outcome.value)
            for path, outcome in outcomes.items()
            if isinstance(outcome, Resolution) and isinstance(outcome.value, SensitiveDict)
        )
        self.errors = {path: outcome for path, outcome in outcomes.items() if isinstance(outcome, StrongroomError)}

    def __repr__(self) -> str:
        return f"SecretBatch({len(self)} secrets, {len(self.errors)} errors)"

    def raise_first_error(self) -> None:
        """Raise the error of the first path that has one."""
        for error in self.errors.values():
            raise error
