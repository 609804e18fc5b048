"""A call of a service: repetition, the fate of a change, and the errors and records that leave the call."""

import logging
import ssl
import traceback

import pytest
import requests
import urllib3

from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
    StoreUnavailableError,
    WriteOutcomeUnknownError,
)
from strongroom.store import remaining, time_limit
from strongroom.store.calls import Caller, Fate, Fault, is_unsent
from strongroom.store.deadline import fail_fast
from support.clock import CallTime

CANARY = "canary-5e1d"
OUTAGES = [Fate.UNSENT, Fate.FAILED, Fate.ODD]


class ClientError(Exception):
    """An exception of the service's client."""

    def __init__(self, fate, after=None):
        super().__init__(CANARY)
        self.fate = fate
        self.after = after


def fault_of(error):
    known = PermissionDeniedError if error.fate is Fate.ANSWERED else StoreUnavailableError
    return Fault(known(reason=error.fate.name), error.fate, error.after)


class Service:
    """A service that fails as a test says: with each of these faults in turn, and the last one for ever."""

    def __init__(self, *faults, then_answers=True):
        self.faults = list(faults)
        self.then_answers = then_answers
        self.limits = []
        self.unconnected = False
        self.caller = Caller("The zoo", self.connect, fault_of, loggers=("zoo",))

    def connect(self):
        if self.unconnected:
            self.fail()
        return self

    def send(self):
        self.limits.append(remaining())
        logging.getLogger("zoo").error(CANARY)
        self.fail()
        return "answer"

    def fail(self):
        if self.faults:
            fault = self.faults.pop(0) if self.then_answers or len(self.faults) > 1 else self.faults[0]
            raise fault if isinstance(fault, Exception) else ClientError(fault)

    @property
    def attempts(self):
        return len(self.limits)

    def call(self, **options):
        return self.caller.call("app", lambda client: client.send(), **options)


def lasting(fate, after=None):
    return Service(ClientError(fate, after), then_answers=False)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time of calls, which only pauses move."""
    stepped = CallTime.of_calls(monkeypatch)
    monkeypatch.setattr("strongroom.store.calls.time", stepped)
    return stepped


@pytest.mark.parametrize("hasty", [False, True])
@pytest.mark.parametrize("fate", [Fate.THROTTLED, Fate.FAILED])
def test_one_failed_reply_is_repeated_also_where_another_link_answers(fate, hasty):
    service = Service(fate)
    with fail_fast(hasty):
        assert service.call() == "answer"
    assert service.attempts == 2


def test_failed_reply_that_was_late_is_repeated_once_also_where_another_link_answers(clock):
    """On a busy machine the reply to a single fault takes longer than a second. The other link has another value."""
    service = Service(Fate.FAILED)

    def late(client):
        if service.attempts == 0:
            clock.sleep(2.0)
        return client.send()

    with fail_fast(True):
        assert service.caller.call("app", late) == "answer"


@pytest.mark.parametrize(
    ("fate", "hasty", "least", "most"),
    [
        (Fate.ANSWERED, False, 0, 0),
        (Fate.ODD, False, 0, 0),
        (Fate.UNSENT, True, 0, 0),
        (Fate.UNSENT, False, 0.5, 1),
        (Fate.FAILED, True, 0.5, 1),
        (Fate.FAILED, False, 9, 10),
        (Fate.THROTTLED, True, 7, 10),
        (Fate.THROTTLED, False, 7, 10),
    ],
)
def test_repetition_ends(clock, fate, hasty, least, most):
    """Without a deadline of the caller it has ten seconds, once."""
    service, began = lasting(fate), clock.monotonic()
    with fail_fast(hasty), pytest.raises((StoreUnavailableError, PermissionDeniedError), match=fate.name) as caught:
        service.call()
    assert least <= clock.monotonic() - began <= most
    assert (caught.value.path, caught.value.reason) == ("app", fate.name)
    assert (service.attempts == 1) is (most == 0)


def test_service_that_has_just_answered_is_not_down():
    """A restart refuses connections, after failures of which each was an answer."""
    service = Service(*[Fate.FAILED] * 12, *[Fate.UNSENT] * 3)
    assert service.call() == "answer"


@pytest.mark.parametrize("changes", [False, True])
def test_service_says_when_to_come_back(clock, changes):
    service, began = Service(ClientError(Fate.THROTTLED, after=3.0)), clock.monotonic()
    assert service.call(changes=changes) == "answer"
    assert 3 <= clock.monotonic() - began < 3.2


def test_next_call_waits_too_if_it_has_the_time(clock):
    """The service has asked for no request at all."""
    service = lasting(Fate.THROTTLED, after=3.0)
    with time_limit(2), pytest.raises(StoreUnavailableError) as caught:
        service.call()
    assert caught.value.retry_after == 3.0
    service.faults, began = [], clock.monotonic()
    with time_limit(2):
        assert service.call() == "answer"
    assert clock.monotonic() == began
    service.caller._asked_off_until = began + 3
    assert service.call() == "answer"
    assert clock.monotonic() == began + 3


def test_no_pause_ends_past_the_deadline(clock):
    service, began = lasting(Fate.THROTTLED, after=30.0), clock.monotonic()
    with pytest.raises(StoreUnavailableError):
        service.call()
    assert clock.monotonic() == began


def test_call_without_time_sends_nothing():
    service = Service()
    with time_limit(0), pytest.raises(StoreUnavailableError, match="The zoo did not answer in time") as caught:
        service.call(changes=True)
    assert service.attempts == 0
    assert type(caught.value) is StoreUnavailableError


class TestChanges:
    @pytest.mark.parametrize("fate", [Fate.THROTTLED, Fate.UNSENT])
    def test_unsent_change_is_repeated_and_in_no_doubt(self, fate):
        service = Service(fate)
        assert service.call(changes=True) == "answer"
        with pytest.raises(StoreUnavailableError) as caught:
            lasting(fate).call(changes=True)
        assert type(caught.value) is StoreUnavailableError

    @pytest.mark.parametrize("fate", [Fate.FAILED, Fate.ODD])
    def test_lost_reply_is_in_doubt_and_not_repeated(self, fate):
        service = Service(fate)
        with pytest.raises(WriteOutcomeUnknownError, match=fate.name):
            service.call(changes=True)
        assert service.attempts == 1

    @pytest.mark.parametrize("fate", OUTAGES)
    def test_change_without_a_connection_was_not_made(self, fate):
        service = lasting(fate)
        service.unconnected = True
        with pytest.raises(StoreUnavailableError) as caught:
            service.call(changes=True)
        assert (type(caught.value), service.attempts) == (StoreUnavailableError, 0)

    def test_lost_reply_is_looked_up_in_the_time_that_is_kept_for_it(self):
        service, left = Service(Fate.FAILED), []

        def settle():
            left.append(remaining())
            return "found"

        assert service.call(changes=True, settle=settle) == "found"
        assert service.limits == [7.5]
        assert left == [10]

    @pytest.mark.parametrize("found", [None, PermissionDeniedError()])
    def test_lost_reply_that_is_not_found_is_in_doubt(self, found):
        def settle():
            if found is not None:
                raise found

        with pytest.raises(WriteOutcomeUnknownError):
            Service(Fate.FAILED).call(changes=True, settle=settle)

    def test_answer_is_not_looked_up(self):
        def settle():
            raise AssertionError

        with pytest.raises(PermissionDeniedError):
            Service(Fate.ANSWERED).call(changes=True, settle=settle)

    def test_repeatable_change_is_sent_again(self):
        service = Service(Fate.FAILED, Fate.UNSENT)
        assert service.call(changes=True, repeatable=True) == "answer"
        assert service.attempts == 3

    @pytest.mark.parametrize("later", [Fate.UNSENT, Fate.ANSWERED])
    def test_repeatable_change_stays_in_doubt_after_a_lost_reply(self, later):
        with pytest.raises(WriteOutcomeUnknownError, match=later.name):
            Service(Fate.FAILED, ClientError(later), then_answers=False).call(changes=True, repeatable=True)


@pytest.mark.parametrize(
    ("error", "unsent"),
    [
        (urllib3.exceptions.NewConnectionError(None, ""), True),
        (urllib3.exceptions.NameResolutionError("", None, OSError()), True),
        (urllib3.exceptions.ConnectTimeoutError(), True),
        (urllib3.exceptions.SSLError(ssl.SSLCertVerificationError()), True),
        (urllib3.exceptions.ProxyError("", OSError("Tunnel connection failed: 502")), True),
        (urllib3.exceptions.ProxyError("", urllib3.exceptions.NewConnectionError(None, "")), True),
        (urllib3.exceptions.ProxyError("", ConnectionResetError(104, "")), False),
        (
            requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("", ConnectionResetError(104, ""))),
            False,
        ),
        (urllib3.exceptions.ReadTimeoutError(None, "", ""), False),
    ],
)
def test_exception_tells_whether_there_was_a_connection(error, unsent):
    """A reply that is lost behind a proxy is reported as a failure of the proxy."""
    assert is_unsent(error) is unsent


class TestErrors:
    def test_operation_may_raise_a_fault(self):
        assert Service(Fault(StoreUnavailableError(), Fate.THROTTLED)).call() == "answer"

    def test_error_of_strongroom_is_final(self):
        """An outage that an operation raises is a reply of another server: it may have executed a change."""
        for error in (ConflictError("app", "canary"), ConfigurationError("canary"), StoreUnavailableError("app")):
            with pytest.raises(type(error)) as caught:
                Service(error).call()
            assert caught.value is not error
        with pytest.raises(WriteOutcomeUnknownError):
            Service(StoreUnavailableError("app")).call(changes=True)

    def test_error_leaves_the_frames_and_records_of_the_client_behind(self, caplog):
        with pytest.raises(PermissionDeniedError) as caught:
            Service(Fate.ANSWERED).call()
        shown = "".join(traceback.format_exception(caught.value))
        assert CANARY not in shown + caplog.text
        assert (caught.value.__context__, caught.value.__cause__) == (None, None)
        assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][1:] == ["call", "call"]
