"""The pytest plugin. pytest imports it at every start, so it imports nothing that a test may not need."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from strongroom.secrets_manager import SecretsManager
    from strongroom.testing.overrides import OverrideValue


@pytest.fixture
def strongroom_override() -> Iterator[Callable[[Mapping[str, OverrideValue]], SecretsManager]]:
    """Return `strongroom.testing.override` as a function. Its contents apply until the end of the test."""
    from strongroom.testing.overrides import override

    with ExitStack() as stack:

        def use(contents: Mapping[str, OverrideValue]) -> SecretsManager:
            return stack.enter_context(override(contents))

        yield use


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Let a contract note the open resources before its plugin is opened, and close the resources of its fixtures."""
    note = getattr(request.instance, "note_resources", None)
    if note is not None and fixturedef.argname in {"store", "exporter"}:
        note()
    value = yield
    if (close := getattr(getattr(request, "cls", None), "close_opened", None)) is not None:
        request.addfinalizer(partial(close, fixturedef.argname, value))
    return value


@pytest.hookimpl(tryfirst=True)
def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show only the `repr` of both sides if one holds a secret: pytest's own explanation would show values."""
    if not (_holds_secret(left) or _holds_secret(right)):
        return None
    return [f"{left!r} {op} {right!r}", "", "(the difference is not shown: one side holds a secret)"]


def _holds_secret(value: object) -> bool:
    """Return True if the value, or a field that pytest would compare, is of a redacted type."""
    from strongroom.secret import SENSITIVE

    parts, seen = [value], set[int]()
    while parts:
        part = parts.pop()
        if isinstance(part, SENSITIVE):
            return True
        if id(part) not in seen:
            seen.add(id(part))
            parts += [getattr(part, name, None) for name in _fields(part)]
    return False


def _fields(value: object) -> Iterable[str]:
    """Return the field names of a dataclass, an attrs class or a named tuple."""
    attributes = getattr(value, "__attrs_attrs__", ())
    return (
        *getattr(value, "__dataclass_fields__", ()),
        *(attribute.name for attribute in attributes),
        *(getattr(value, "_fields", ()) if isinstance(value, tuple) else ()),
    )
