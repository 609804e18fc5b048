"""What came of reading many secrets at once."""

from __future__ import annotations

from collections.abc import Mapping

from strongroom.chain.chain import Resolution
from strongroom.errors import StrongroomError
from strongroom.secret import SensitiveDict


class SecretBatch(dict[str, SensitiveDict]):
    """The secrets that were found, by path, and in `errors` what became of every other path.

    Attributes:
        errors: by path. `SecretNotFoundError` is a confirmed absence; an outage or a denial is an error of its own.
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
        """Raises the error of the first path that has one, if one has."""
        for error in self.errors.values():
            raise error
