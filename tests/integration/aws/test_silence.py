"""No value and no credential is anywhere that somebody else can see, whatever fails."""

import base64
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.errors import StrongroomError
from strongroom.secret import check_data
from strongroom.store import time_limit
from support.scenarios.exposure import shown_by
from support.services.aws import CREDENTIALS
from support.vault.faults import reply

pytestmark = pytest.mark.long

VALUE, NUMBER = "canary-value", 987654321123
BINARY = f"{VALUE}-binary".encode()
CANARIES = (
    VALUE,
    str(NUMBER),
    base64.b64encode(BINARY).decode(),
    CREDENTIALS["aws_secret_access_key"],
    CREDENTIALS["aws_access_key_id"],
    "canary-session",
)
DATA = {"k": VALUE, "n": NUMBER, "b": VALUE.encode(), "deep": [{"k": VALUE}, NUMBER]}


def seen_in(text):
    return [canary for canary in CANARIES if canary in text]


def exposed(error):
    """The canaries that an error, its attributes, its contexts or the frames of our code on its way show."""
    return seen_in(shown_by(error, __file__))


@pytest.fixture(autouse=True)
def quiet_log(caplog, monkeypatch):
    """Every logger at DEBUG: boto3's, botocore's and urllib3's too."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-session")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    caplog.set_level(logging.DEBUG)
    yield
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert any(record.name.startswith("urllib3") for record in records)
    for record in records:
        assert not seen_in(f"{record.getMessage()} {vars(record)}"), record.name


def operations(aws):
    secrets, parameters, keys = aws.open_secrets(), aws.open_parameters("secrets"), aws.open_parameters()
    plain = aws.open_secrets(fold="plain")
    data = check_data("app", DATA)
    text = check_data("app", {"k": VALUE, "n": NUMBER})
    return {
        "read": lambda: secrets.read("app"),
        "write": lambda: secrets.write("app", data),
        "write plain": lambda: plain.write("app", check_data("app", {"value": VALUE})),
        "write binary": lambda: plain.write("app", check_data("app", {"value": BINARY})),
        "delete": lambda: secrets.delete("app"),
        "list": lambda: list(secrets.walk("")),
        "read_many": lambda: list(secrets.read_many(["app"])),
        "write_many": lambda: list(secrets.write_many([("app", data)])),
        "versions": lambda: secrets.versions("app"),
        "read_version": lambda: secrets.read_version("app", "AWSPREVIOUS"),
        "write_metadata": lambda: secrets.write_metadata("app", {"owner": "billing"}),
        "probe": secrets.probe,
        "read parameter": lambda: parameters.read("app"),
        "write parameter": lambda: parameters.write("app", data),
        "read keys": lambda: keys.read("app"),
        "write keys": lambda: keys.write("app", text),
        "read parameters": lambda: list(parameters.read_many(["app"])),
        "versions of a parameter": lambda: parameters.versions("app"),
        "version of a parameter": lambda: parameters.read_version("app", 1),
        "labelled version of a parameter": lambda: parameters.read_version("app", "stable"),
        "undelete parameter": lambda: parameters.undelete("app", 1),
        "destroy parameter": lambda: parameters.destroy("app", 1),
        "tags of a parameter": lambda: parameters.read_metadata("app"),
        "tag parameter": lambda: parameters.write_metadata("app", {"owner": "billing"}),
    }


def failure_of(operation):
    """What it raises; None where the answer was good enough, which then shows nothing either."""
    try:
        with time_limit(0.7):
            shown = repr(operation())
    except StrongroomError as error:
        return error
    assert not seen_in(shown)
    return None


BODY = {"__type": f"Odd{VALUE}", "message": f"{VALUE} {NUMBER}", "SecretString": json.dumps({"k": VALUE, "n": NUMBER})}

ANSWERS = {
    "refused": reply(400, BODY),
    "denied": reply(400, BODY | {"__type": "AccessDeniedException"}),
    "absent": reply(400, BODY | {"__type": "ResourceNotFoundException"}),
    "scheduled": reply(400, BODY | {"__type": "InvalidRequestException"}),
    "broken": reply(500, BODY),
    "throttled": reply(400, BODY | {"__type": "ThrottlingException"}),
    "no JSON": reply(200, f"<{VALUE}>".encode()),
    "another shape": reply(200, BODY | {"Name": VALUE, "VersionId": VALUE}),
    "a name of no secret": reply(200, BODY | {"Name": 5, "SecretString": VALUE}),
    "cut off": reply(200, BODY)[:-5],
    "no HTTP": f"HTTP/1.1 {VALUE} x\r\n\r\n".encode(),
    "no length": f"HTTP/1.1 200 x\r\nContent-Length: {VALUE}\r\n\r\n".encode(),
    "redirect": reply(307, b"", [f"Location: http://127.0.0.1:1/{VALUE}"]),
    "header": reply(200, b"{}", [f"x-amzn-requestid: {VALUE}", f"Date: {VALUE}"]),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_failure_shows_nothing(aws, name):
    """Not even before the front drops the frames, and not to a server that reflects what it was sent."""

    def fault(exchange):
        exchange.send(ANSWERS[name])
        if name in {"cut off", "no HTTP"}:
            exchange.end()

    aws.fault("*", fault)
    ours = operations(aws)
    with ThreadPoolExecutor(len(ours)) as pool:  # some answers are waited for until the end of the time
        outcomes = zip(ours, pool.map(failure_of, ours.values()), strict=True)
    failed = {name: error for name, error in outcomes if error is not None}
    assert len(failed) >= 2
    assert not {name: shown for name, error in failed.items() if (shown := exposed(error))}


def test_success_shows_nothing(aws):
    """A store, a secret and a health say nothing either."""
    ours = operations(aws)
    for name in ("write", "read", "write keys", "read keys", "probe", "read_many"):
        assert not seen_in(repr(ours[name]()))
    for name in ("write parameter", "version of a parameter", "versions of a parameter", "tag parameter"):
        assert not seen_in(repr(ours[name]()))
    store = aws.open_secrets()
    secret = store.read("app")
    assert secret.data["k"] == VALUE
    assert not seen_in(f"{store!r} {secret!r} {vars(store)!r} {vars(store.requests.service)!r}")


def test_refused_data_shows_nothing(aws):
    """Too large: found before anything is sent."""
    for store in (aws.open_secrets(), aws.open_parameters("secrets"), aws.open_parameters()):
        for data in ({"k": VALUE * 10_000}, {"value": VALUE * 10_000}):
            with pytest.raises(StrongroomError) as caught:
                store.write("app", check_data("app", data))
            assert not exposed(caught.value)
    aws.open_secrets().write("app", {"k": "v"})


def test_log_of_others_with_the_sdk_is_their_own(aws, caplog):
    """Only what the SDK does for us is left out."""
    aws.open_secrets().write("app", {"k": "v"})
    caplog.clear()
    aws.moto.client("sts", aws_access_key_id="others", aws_secret_access_key="others").get_caller_identity()
    assert any(record.name.startswith("botocore") for record in caplog.records)
    caplog.clear()
    logging.getLogger("urllib3").debug("kept")
