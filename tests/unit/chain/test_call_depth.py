"""How many functions of ours one read crosses, and in how many types the answer comes back."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

import strongroom
from strongroom import Secret, SecretsManager
from strongroom.store import Traits

CORE = Path(strongroom.__file__).parent


class Remote:
    """A store whose read notes the functions of the core that called it, innermost first."""

    traits = Traits(honors_deadline=True)

    def __init__(self) -> None:
        self.callers: list[str] = []

    def read(self, path: str) -> Secret:
        frame: FrameType | None = sys._getframe(1)
        self.callers = []
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(CORE):
                self.callers.append(frame.f_code.co_qualname)
            frame = frame.f_back
        return Secret(path=path, data={"key": "value"})

    def close(self) -> None:
        pass


@pytest.fixture
def store():
    return Remote()


@pytest.fixture
def manager(store):
    with SecretsManager(chain=[store, "env"]) as manager:
        manager.get_secret("warm/up", "key")
        yield manager


def test_a_cold_read_crosses_six_functions_of_the_core(manager, store):
    """Between `get_secret` and the store stand chain, policy, link, cache, breaker and guard."""
    assert manager.get_secret("a/b", "key") == "value"
    assert store.callers == [
        "GuardedStore.read",
        "StoreHandle.call",
        "MemoryCache.fetch",
        "Link.read",
        "query",
        "Chain.resolve",
        "BlockingManager.get_secret",
    ]


def test_an_answer_comes_back_in_three_types(manager, store):
    """A Secret from the store, a Reading from the link with its Attempt beside it, a Resolution from the chain."""
    returned: dict[str, object] = {}

    def note(frame: FrameType, event: str, result: object) -> None:
        if event == "return":
            returned[frame.f_code.co_qualname] = result

    sys.setprofile(note)
    try:
        manager.get_secret("a/b", "key")
    finally:
        sys.setprofile(None)
    results = [returned[function] for function in ["Remote.read", *store.callers[:-1]]]
    kinds = [type(item).__name__ for result in results for item in (result if type(result) is tuple else [result])]
    assert kinds == ["Secret", "Secret", "Secret", "Secret", "Reading", "Attempt", "Reading", "Resolution"]
