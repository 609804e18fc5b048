"""Every public function with a path, prefix, key, service, store or version of a wrong type: an error of ours."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import strongroom
from strongroom import SecretsManager
from strongroom.errors import StrongroomError
from strongroom.secrets_manager import Versions

BAD: dict[str, object] = {
    "list": ["x"],
    "None": None,
    "int": 3,
    "bytes": b"x",
    "object": object(),
    "dict": {"x": 1},
    "float": 1.5,
}
GOOD: dict[str, Any] = {
    "path": "a/b",
    "key": "k",
    "prefix": "a",
    "paths": ["a/b"],
    "service": "openai",
    "data": {"k": "v"},
    "metadata": {"k": "v"},
    "store": "memory",
    "scheme": "mysql",
    "version": 1,
    "callback": print,
    "grace": "1h",
}
SPECIAL = {"migrate", "override", "database_url"}
WRONG = frozenset(GOOD) - {"callback", "grace"}


def public() -> Iterator[tuple[str, Callable[..., Any], str]]:
    """Every function that takes one of these parameters, with the parameter."""
    sources = [("SecretsManager", SecretsManager), ("Versions", Versions), ("strongroom", strongroom)]
    for owner, source in sources:
        names = strongroom.__all__ if source is strongroom else dir(source)
        for name in names:
            member = getattr(source, name)
            if name.startswith("_") or not inspect.isfunction(member) or name in SPECIAL:
                continue
            for parameter in inspect.signature(member).parameters.values():
                if parameter.name in WRONG:
                    yield f"{owner}.{name}", member, parameter.name


CASES = [(name, parameter) for name, _, parameter in public()]
MEMBERS = {name: member for name, member, _ in public()}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Calls a public function on a manager whose one store has the secret, as the default manager too."""
    with SecretsManager(chain=["memory"]) as manager:
        manager.set_secret("a/b", {"k": "v"})
        before = strongroom.set_default_manager(manager)

        def call(name: str, arguments: dict[str, Any]) -> Any:
            owner, _, method = name.partition(".")
            target = {"SecretsManager": manager, "Versions": manager.versions, "strongroom": strongroom}[owner]
            result = getattr(target, method)(**arguments)
            return asyncio.run(result) if inspect.iscoroutine(result) else result

        yield call
        strongroom.set_default_manager(before)


def raised_by_us(error: BaseException) -> bool:
    """Whether a `raise` statement of our sources raised it, and not an operation on the wrong type."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return "/strongroom/" in frame.filename and "raise" in linecache.getline(frame.filename, frame.lineno or 0)


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_wrong_type_is_an_error_of_ours(called: Callable[..., Any], name: str, parameter: str) -> None:
    signature = inspect.signature(MEMBERS[name]).parameters
    required = {n: GOOD[n] for n, p in signature.items() if p.default is p.empty and n != "self"}
    for kind, value in BAD.items():
        if value is None and signature[parameter].default is None:
            continue  # that is the default
        if (parameter, kind) in {("version", "int"), ("data", "dict"), ("paths", "list"), ("paths", "dict")}:
            continue
        with pytest.raises((StrongroomError, TypeError, ValueError)) as caught:
            called(name, {**required, parameter: value})
        assert raised_by_us(caught.value), (kind, repr(caught.value))
        assert 0 < len(str(caught.value)) < 200, kind
        assert "object at 0x" not in str(caught.value), kind
