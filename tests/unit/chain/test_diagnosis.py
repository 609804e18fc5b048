"""How stores are: what they say of themselves, what they raise, and what they never come back from."""

import threading

import pytest

from strongroom import errors
from strongroom._boundary.guard import GuardedStore
from strongroom._chain.chain import Chain
from strongroom._chain.diagnosis import health_of, probe_all
from strongroom.errors import Check, CheckState
from strongroom.store import Health, remaining, time_limit
from strongroom.store.memory import MemoryStore
from support.clock import LONG

FAILED = Check("unsealed", CheckState.FAILED, "it is sealed", "Unseal it")
FINE = Check("reachable", CheckState.OK)


def answering(health):
    return health_of("vault", lambda: health)


def raising(error):
    def ask():
        raise error

    return health_of("vault", ask)


def test_a_store_that_is_well_is_left_as_it_says():
    """With a warning too: it is well today."""
    warned = Check("clock", CheckState.WARNING, "40 s behind", "Synchronise it")
    health = answering(Health(ok=True, detail="open", facts={"version": "1"}, checks=(FINE, warned)))
    assert (health.ok, health.detail, health.error, health.checks) == (True, "open", None, (FINE, warned))
    assert health.facts == {"version": "1"}
    assert health.seconds >= 0


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.AuthenticationError(reason="x"), "authenticated"),
        (errors.PermissionDeniedError(reason="x"), "permitted"),
        (errors.StoreUnavailableError(reason="x"), "reachable"),
        (errors.ConfigurationError("x"), "configured"),
        (errors.PluginError("x"), "installed"),
        (errors.StoreError(reason="x"), "answers"),
    ],
)
def test_what_is_raised_is_the_error_and_a_failed_check(error, name):
    """The class is kept, for whoever asks what kind of failure it is."""
    health = raising(error)
    assert (health.ok, repr(health.error)) == (False, repr(error))
    (check,) = health.checks
    assert (check.name, check.state, check.detail) == (name, CheckState.FAILED, "x")
    assert check.hint == getattr(error, "hint", check.hint)
    assert str(error) == health.detail
    assert health.error.__traceback__ is None


def test_what_had_been_looked_at_comes_before_the_failure():
    """And says what is not the reason; where it says what is, nothing is added."""
    error = errors.AuthenticationError(reason="x")
    error.checks = (FINE,)
    assert [check.name for check in raising(error).checks] == ["reachable", "authenticated"]
    outage = errors.StoreUnavailableError(reason="x")
    outage.checks = (FINE,)
    assert [check.name for check in raising(outage).checks] == ["reachable", "answers"]
    outage.checks = (FINE, FAILED)
    assert raising(outage).checks == (FINE, FAILED)


def test_a_store_that_is_not_well_and_says_no_more_is_unavailable():
    """That is what a read would meet."""
    health = answering(Health(ok=False, detail="the tape is out"))
    assert isinstance(health.error, errors.StoreUnavailableError)
    assert (health.error.store, health.error.reason) == ("vault", "the tape is out")
    assert [check.detail for check in health.checks] == ["the tape is out"]


def test_a_failed_check_outweighs_what_the_store_says():
    """A store that says both is not well."""
    health = answering(Health(ok=True, detail="", checks=(FINE, FAILED)))
    assert not health.ok
    assert isinstance(health.error, errors.StoreUnavailableError)
    assert (health.error.reason, health.error.hint) == ("it is sealed", "Unseal it")
    assert health.checks == (FINE, FAILED)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"ok": True}, "probe() returned dict, expected Health"),
        (Health(ok=True, checks=("fine",)), "probe() returned a check of type str"),
        (Health(ok=True, checks=(Check("unsealed", "failed"),)), "probe() returned a Check with state of type str"),
    ],
)
def test_an_answer_that_is_no_health_is_a_bug_of_the_plugin(answer, words):
    """And no crash. The guard checks the answer."""

    class Odd(MemoryStore):
        def probe(self):
            return answer

    health = health_of("vault", GuardedStore(Odd(), "vault").probe)
    assert not health.ok
    assert type(health.error) is errors.StoreError
    assert words in health.detail


def test_all_are_asked_at_the_same_time():
    """Each waits here until the other has begun."""
    both = threading.Barrier(2, timeout=LONG)

    def ask():
        both.wait()
        return Health(ok=True)

    found = probe_all({"b": ask, "a": ask}, LONG)
    assert {name: health.ok for name, health in found.items()} == {"b": True, "a": True}
    assert list(found) == ["b", "a"]


def test_each_has_the_time_that_the_caller_has():
    """The deadline is known in the threads too."""
    with time_limit(5):
        assert probe_all({"a": lambda: Health(ok=remaining() <= 5)}, 30)["a"].ok


def test_one_that_never_answers_holds_nobody_up():
    """It is unavailable, and the others are what they are."""
    never = threading.Event()
    try:
        stuck, well = (lambda: Health(ok=never.wait())), (lambda: Health(ok=True))
        found = probe_all({"stuck": stuck, "well": well}, 1.0)  # enough for the other on a busy machine
    finally:
        never.set()
    assert found["well"].ok
    assert isinstance(found["stuck"].error, errors.StoreUnavailableError)
    assert "did not answer in time" in found["stuck"].detail


def test_a_bug_in_asking_is_raised_where_it_is_asked():
    """No thread swallows it."""

    def ask():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        probe_all({"a": ask}, LONG)


def test_the_chain_asks_its_links_so(monkeypatch):
    """By their names, and within its own time."""
    both = threading.Barrier(2, timeout=LONG)

    class FakeLink:
        def __init__(self, name):
            self.name, self.peek = name, None

        def join(self, links):
            """Its position does not matter here."""

        def health(self):
            return Health(ok=both.wait() >= 0 and remaining() <= LONG)

    chain = Chain([FakeLink("a"), FakeLink("b")], timeout=LONG)
    assert [health.ok for health in chain.health().values()] == [True, True]
