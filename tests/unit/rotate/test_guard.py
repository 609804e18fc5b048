"""A rotator that hangs, exits or returns nonsense costs a rotation its deadline, and is named."""

import threading
from datetime import UTC, datetime
from itertools import count

import pytest

from strongroom._boundary import watchdog
from strongroom._config import RotationConfig
from strongroom._manager.manager import parts_of
from strongroom.errors import (
    AuthenticationError,
    ConflictError,
    InvalidDataError,
    PluginError,
    RotationError,
    StoreError,
    StoreUnavailableError,
    UnfinishedRotationError,
    WriteOutcomeUnknownError,
)
from strongroom.rotate import guard
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.service import GuardedServiceRotator
from strongroom.rotate.spi import CredentialPair
from strongroom.rotate.state import RotationStep
from strongroom.secret import SensitiveDict
from strongroom.store import Traits, remaining, time_limit
from support.clock import LONG
from support.scenarios.rotating import PATH, Rotating, ServiceUserRotator

CREDENTIALS = CredentialPair(PATH, old=SensitiveDict(), new=SensitiveDict())
CALLS = {
    "create": lambda rotator: rotator.create(SensitiveDict()),
    "apply": lambda rotator: rotator.apply(CREDENTIALS),
    "prove": lambda rotator: rotator.prove(CREDENTIALS),
    "revoke": lambda rotator: rotator.revoke(CREDENTIALS),
}


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(watchdog, "GRACE", 0.0)


@pytest.fixture
def rotating():
    rotating = Rotating()
    yield rotating
    rotating.manager.close()


class Rotator:
    """A rotator with the methods that a test passes."""

    starts_once = True

    def __init__(self, **does):
        for method in ("create", "apply", "prove", "revoke", "close", "start", "finished", "last_rotation"):
            setattr(self, method, does.get(method, lambda *_: None))


def exits(*_):
    raise SystemExit(0)


def returns(answer):
    return lambda *_: answer


WRONG = [
    *((method, exits, "it raised SystemExit") for method in CALLS),
    ("create", returns(None), "create() returned NoneType, expected a mapping of keys to values"),
    ("create", returns({"password": object()}), "create() returned a value of type object"),
    ("create", returns({1: "canary-6f1d"}), "create() returned a key of type int"),
    ("apply", returns(True), "apply() returned bool, expected None"),
    ("prove", returns(False), "prove() returned bool, expected None"),
    ("revoke", returns(None), "revoke() returned NoneType, expected an iterator"),
    ("revoke", returns("password"), "revoke() returned str, expected an iterator"),
    ("revoke", returns([b"password"]), "revoke() returned an item of type bytes, expected str"),
]


@pytest.mark.parametrize(("method", "does", "says"), WRONG)
def test_a_rotator_cannot_break_a_rotation(method, does, says):
    """The error names the rotator, its class and the type. A `prove` that returns False proves nothing."""
    with pytest.raises(StoreError) as caught:
        CALLS[method](GuardedRotator(Rotator(**{method: does}), "corp", PATH))
    assert says in str(caught.value)
    assert f"This is a bug in the rotator's plugin, {__name__}.Rotator" in str(caught.value)
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize("method", ["apply", "prove", "revoke"])
def test_an_error_of_a_rotator_quotes_no_credential(method):
    """Neither the old and the new one, nor that of another secret that the rotator has read."""
    others = {"admin": SensitiveDict(password="canary-admin")}
    pair = CredentialPair(
        PATH, SensitiveDict(password="canary-old"), SensitiveDict(password="canary-new"), others.__getitem__
    )

    def fail(credentials):
        quoted = [str(secret["password"]) for secret in (credentials.old, credentials.new, credentials.read("admin"))]
        raise AuthenticationError(None, f"refused: {' '.join(quoted)}")

    with pytest.raises(AuthenticationError) as caught:
        getattr(GuardedRotator(Rotator(**{method: fail}), "corp", PATH), method)(pair)
    assert caught.value.reason == "refused: ********** ********** **********"


def test_a_refusal_to_create_a_credential_quotes_no_value():
    """The secret that `create` gets is known."""

    def fail(current):
        raise InvalidDataError(None, f"not {str(current['password'])!r}")

    with pytest.raises(InvalidDataError) as caught:
        GuardedRotator(Rotator(create=fail), "corp", PATH).create(SensitiveDict(password="canary-old"))
    assert "canary" not in str(caught.value)


def test_an_asynchronous_method_is_refused_before_it_proves_nothing():
    """It would return a coroutine that nobody awaits."""

    async def prove(_):
        pass

    with pytest.raises(PluginError, match=r"prove\(\) of .*Rotator is asynchronous. Make it a blocking method"):
        GuardedRotator(Rotator(prove=prove), "corp", PATH)


@pytest.mark.parametrize("method", CALLS)
def test_a_rotator_that_hangs_is_given_up(method):
    """Of `apply` and `revoke`, the outcome is unknown."""
    free = threading.Event()
    rotator = GuardedRotator(Rotator(**{method: lambda *_: free.wait()}), "corp", PATH)
    expected = WriteOutcomeUnknownError if method in {"apply", "revoke"} else StoreUnavailableError
    with time_limit(0.05), pytest.raises(StoreUnavailableError, match=r"corp.*did not answer in time") as caught:
        CALLS[method](rotator)
    assert type(caught.value) is expected
    assert rotator.is_overdue
    free.set()


def test_threads_and_log_lines_name_the_rotator(caplog, monkeypatch):
    """Each has the kind of the plugin: a store may have the same name."""
    monkeypatch.setattr(watchdog, "CLOSE_LIMIT", LONG)
    threads = []

    def fail():
        threads.append(threading.current_thread().name)
        raise ValueError

    GuardedRotator(Rotator(close=fail), "corp", PATH).close()
    assert threads == ["rotator corp"]
    assert "Closing rotator corp failed: ValueError" in caplog.text


def test_a_rotator_of_a_newer_protocol_is_refused():
    """By its name."""
    rotator = Rotator()
    rotator.traits = Traits(protocol=99)
    with pytest.raises(PluginError, match=r"Rotator corp: .* needs store protocol 99"):
        GuardedRotator(rotator, "corp", PATH)


class Hanging(ServiceUserRotator):
    """A rotator that hangs in a call with little time, and then continues."""

    def __init__(self, service):
        super().__init__(service)
        self.free, self.applied = threading.Event(), threading.Event()

    def called(self, method):
        super().called(method)
        if remaining() < 1:
            self.free.wait()

    def apply(self, credentials):
        super().apply(credentials)
        self.applied.set()


@pytest.fixture
def hurried(monkeypatch):
    """Return a function that gives one call of a rotator, counted from 1, little time."""

    def hurry(number):
        calls = count(1)
        monkeypatch.setattr(guard, "time_limit", lambda seconds: time_limit(0.05 if next(calls) == number else seconds))

    return hurry


def test_an_apply_that_still_runs_is_not_undone(rotating, hurried):
    """It could follow the undo, and end the old credential. The rotation is resumed instead, and the lease is kept."""
    hurried(2)
    rotator = Hanging(rotating.service)
    with pytest.raises(UnfinishedRotationError, match="strongroom rotate resume"):
        rotating.transaction(rotator=rotator).rotate()
    with pytest.raises(ConflictError, match="is rotating it"):
        rotating.transaction().resume()
    rotator.free.set()
    assert rotator.applied.wait(LONG)
    assert rotating.transaction(rotator=rotator).resume(take_over=True).step is RotationStep.DONE
    assert rotating.service.accepted == {rotating.secret["password"].reveal()}


def test_a_proof_that_still_runs_is_undone(rotating, hurried):
    """It changes nothing: the old credential is applied again."""
    hurried(3)
    rotator = Hanging(rotating.service)
    with pytest.raises(RotationError, match="It was undone"):
        rotating.transaction(rotator=rotator).rotate()
    assert rotating.service.lets_in(rotating.secret)
    rotator.free.set()


SERVICE = {
    "start": lambda rotator: rotator.apply(CREDENTIALS),
    "finished": lambda rotator: rotator.is_finished(),
    "last_rotation": lambda rotator: rotator.last_rotation(),
}


def at_service(rotating, **does):
    return GuardedServiceRotator(
        Rotator(**does), "corp", RotationConfig(PATH, "corp"), parts_of(rotating.manager).chain
    )


@pytest.mark.parametrize(
    ("method", "does", "says"),
    [
        *((method, exits, "it raised SystemExit") for method in SERVICE),
        ("start", returns("started"), "start() returned str, expected None"),
        ("finished", returns(None), "finished() returned NoneType, expected bool"),
        ("last_rotation", returns(1.5), "last_rotation() returned a time of type float, expected datetime or None"),
        ("last_rotation", returns(datetime(2026, 1, 1)), "a time without a time zone"),  # noqa: DTZ001  # that is wrong
    ],
)
def test_a_service_rotator_cannot_break_a_rotation(rotating, method, does, says):
    """The error names the rotator, not the store."""
    with pytest.raises(StoreError) as caught:
        SERVICE[method](at_service(rotating, **{method: does}))
    assert says in str(caught.value)
    assert "store corp" in str(caught.value)


def test_answers_of_a_service_rotator_are_returned(rotating):
    now = datetime.now(UTC)
    rotator = at_service(rotating, finished=returns(True), last_rotation=returns(now))
    assert rotator.is_finished() is True
    assert rotator.last_rotation() == now
