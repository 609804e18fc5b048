"""The pytest plugin. pytest imports it at every start, so it imports nothing that a test may not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from strongroom.secrets_manager import SecretsManager
    from strongroom.testing.overriding import Ordered


@pytest.fixture
def strongroom_override() -> Iterator[Callable[[Mapping[str, Ordered]], SecretsManager]]:
    """`strongroom.testing.override` until the end of the test: call it with the contents, again for other ones."""
    from strongroom.testing.overriding import override

    with ExitStack() as stack:

        def use(contents: Mapping[str, Ordered]) -> SecretsManager:
            return stack.enter_context(override(contents))

        yield use
