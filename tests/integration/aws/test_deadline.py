"""A call ends in the time that it has, whatever the network does, and nothing is sent for it afterwards."""

import threading
import time
from contextlib import nullcontext

import pytest

from strongroom.errors import StoreError, StoreUnavailableError, WriteOutcomeUnknownError
from strongroom.store import time_limit
from strongroom.testing import silent_server
from strongroom_aws.plugin import open_parameter_store, open_secrets_manager
from support.scenarios.deadlines import each_ends_in_time
from support.services.aws import operation_of
from support.vault import faults

pytestmark = pytest.mark.long

LIMIT, GRACE = 0.5, 8.0
"""Seconds that a call is given, and that a busy machine may add."""

LIMITS = (LIMIT, 4 * LIMIT, 16 * LIMIT)
"""Limits in turn, until one is long enough on a busy machine to send the request."""


def operations(aws):
    secrets, parameters, keys = aws.open_secrets(), aws.open_parameters("secrets"), aws.open_parameters()
    return [
        lambda: secrets.read("app"),
        lambda: secrets.write("app", {"k": "v"}),
        lambda: secrets.delete("app"),
        lambda: list(secrets.walk("")),
        lambda: secrets.versions("app"),
        secrets.probe,
        lambda: parameters.read("app"),
        lambda: parameters.write("app", {"k": "v"}),
        lambda: list(parameters.walk("")),
        lambda: keys.read("app"),
        lambda: keys.write("app", {"k": "v", "l": "w"}),
        parameters.probe,
    ]


@pytest.mark.parametrize("fault", [faults.hang(), faults.drip(0.05), faults.delay(3.0)], ids=["hang", "drip", "delay"])
def test_call_ends_in_time(aws, fault):
    """A drip resets every timeout of a socket, and a delay is repeated: neither makes a call longer."""
    aws.fault("*", fault)
    each_ends_in_time(operations(aws), LIMIT, GRACE)


def test_batches_end_in_time(aws):
    """With an error for each of their items."""
    secrets, parameters = aws.open_secrets(), aws.open_parameters("secrets")
    aws.fault("*", faults.hang())
    paths = [f"app{number}" for number in range(30)]
    for store in (secrets, parameters):
        began = time.monotonic()
        with time_limit(LIMIT):
            outcomes = [*store.read_many(paths), *store.write_many((path, {"k": "v"}) for path in paths)]
        assert len(outcomes) == 60
        assert all(isinstance(outcome, StoreUnavailableError) for _, outcome in outcomes)
        assert time.monotonic() - began < LIMIT + GRACE


def test_backing_off_from_throttling_ends_in_time(aws, monkeypatch):
    """However often and long botocore would try."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "50")
    aws.refuse("*", "ThrottlingException")
    each_ends_in_time(operations(aws), LIMIT, GRACE)


@pytest.mark.parametrize("open_store", [open_secrets_manager, open_parameter_store])
def test_credentials_that_are_not_found_in_time_are_an_outage(aws, monkeypatch, open_store):
    """The service of a container that gives them may hang as well."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with silent_server() as (host, port):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://{host}:{port}/")
        began = time.monotonic()
        with time_limit(LIMIT), pytest.raises(StoreUnavailableError):
            open_store(endpoint_url=aws.proxy.url).read("app")
        assert time.monotonic() - began < LIMIT + GRACE
    assert aws.asked == []


def test_change_whose_answer_is_late_is_in_doubt(aws):
    """The error says so; a read says no such thing."""
    store, parameters = aws.open_secrets(), aws.open_parameters("secrets", kms_key="alias/aws/ssm")
    store.write("app", {"k": "v"})
    parameters.write("app", {"k": "v"})
    aws.fault("PutSecretValue", faults.hang())
    aws.fault("PutParameter", faults.hang())
    aws.forget()
    for written, operation in ((store, "PutSecretValue"), (parameters, "PutParameter")):
        for limit in LIMITS:
            with time_limit(limit), pytest.raises(StoreUnavailableError) as caught:
                written.write("app", {"k": "w"})
            if operation in aws.asked:
                break
        assert isinstance(caught.value, WriteOutcomeUnknownError)
        assert "may or may not have been made" in str(caught.value)
    aws.fault("GetSecretValue", faults.hang())
    with time_limit(LIMIT), pytest.raises(StoreUnavailableError) as caught:
        store.read("app")
    assert "may or may not" not in str(caught.value)


def test_change_that_never_got_there_is_in_no_doubt(aws, monkeypatch):
    """Throttled, or without a connection."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    aws.refuse("PutSecretValue", "ThrottlingException")
    for store in (aws.open_secrets(), open_secrets_manager(endpoint_url="http://127.0.0.1:1")):
        with pytest.raises(StoreUnavailableError) as caught:
            store.write("app", {"k": "v"})
        assert "may or may not" not in str(caught.value)
    aws.fault("PutSecretValue", faults.reset(forward=True))
    with pytest.raises(WriteOutcomeUnknownError, match="may or may not have been made"):
        aws.open_secrets().write("app", {"k": "v"})


@pytest.mark.parametrize("limited", [True, False])
def test_change_that_was_given_up_is_not_sent_again(aws, monkeypatch, limited):
    """A repetition that nobody waits for any more could undo what somebody else wrote meanwhile.

    Neither in the time of a call that is limited, nor in the time that one has where nothing limits it.
    """
    store = aws.open_parameters("secrets", kms_key="alias/aws/ssm")
    store.write("app", {"k": "first"})
    threads = set(threading.enumerate())

    def late(exchange):
        given_up.wait(30)
        exchange.reset()

    given_up = threading.Event()
    aws.fault("PutParameter", late)
    aws.forget()
    for limit in LIMITS:
        monkeypatch.setattr("strongroom.store.deadline.DEFAULT_TIMEOUT", limit)
        with time_limit(limit) if limited else nullcontext(), pytest.raises(StoreUnavailableError):
            store.write("app", {"k": "ours"})
        if "PutParameter" in aws.asked:
            break
    given_up.set()
    for thread in set(threading.enumerate()) - threads:
        if thread.name == "aws":
            thread.join(30)
            assert not thread.is_alive()
    assert [operation_of(request) for request in aws.proxy.requests].count("PutParameter") == 1


def test_call_without_time_sends_nothing(aws):
    store = aws.open_secrets()
    aws.forget()
    with time_limit(0), pytest.raises(StoreError, match="in time"):
        store.write("app", {"k": "v"})
    assert aws.asked == []
