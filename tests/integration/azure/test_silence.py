"""No value and no credential is in a message, an error or a record of any logger, also after a failure."""

import json
import logging

import pytest

from strongroom.errors import StrongroomError
from strongroom.secret import check_data
from strongroom.store import time_limit
from support.scenarios.exposure import shown_by
from support.services.azure import CREDENTIALS, TOKEN, answered, lost, raw

pytestmark = pytest.mark.long

VALUE, NUMBER = "canary-value", 987654321123
CANARIES = (VALUE, str(NUMBER), CREDENTIALS["AZURE_CLIENT_SECRET"], TOKEN, "canary-message")
DATA = {"k": VALUE, "n": NUMBER, "b": VALUE.encode(), "deep": [{"k": VALUE}, NUMBER]}
BODY = json.dumps({"value": VALUE, "id": f"https://{VALUE}/secrets/{VALUE}/{VALUE}", "tags": {"k": NUMBER}}).encode()


def seen_in(text):
    return [canary for canary in CANARIES if canary in text]


def exposed(error):
    """The canaries that an error, its attributes, its contexts or the frames of our code on its way show."""
    return seen_in(shown_by(error, __file__))


@pytest.fixture(autouse=True)
def quiet_log(caplog):
    """Every logger at DEBUG: those of the SDK, msal, requests and urllib3 too."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in [*caplog.get_records("setup"), *caplog.get_records("call")]:
        assert not seen_in(f"{record.getMessage()} {vars(record)}"), record.name
        assert record.name.partition(".")[0] not in {"azure", "msal", "urllib3"}, record.getMessage()


def failure_of(operation):
    """The error; None if the answer was accepted, which then shows nothing either."""
    try:
        with time_limit(0.5):
            shown = repr(operation())
    except StrongroomError as error:
        return error
    assert not seen_in(shown)
    return None


def operations(store):
    data = check_data("app", DATA)
    version = store.versions("app")[-1].version
    return {
        "read": lambda: store.read("app"),
        "write": lambda: store.write("app", data),
        "write plain": lambda: store.write_formed(
            "app", check_data("app", {"value": VALUE}), {"strongroom:fold": "text"}
        ),
        "list": lambda: list(store.walk("")),
        "read_many": lambda: list(store.read_many(["app"])),
        "versions": lambda: store.versions("app"),
        "read_version": lambda: store.read_version("app", version),
        "labels": lambda: store.write_metadata("app", {"owner": "billing"}),
        "probe": store.probe,
        "cautions": lambda: store.cautions("app"),
        "delete": lambda: store.delete("app"),
        "undelete": lambda: store.undelete("app", store.versions("app")[-1].version),
    }


def test_success_shows_nothing(key_vault):
    store = key_vault.open()
    store.write("app", check_data("app", DATA))
    for operation in operations(store).values():
        assert not seen_in(repr(operation()))
    assert not seen_in(f"{store!r} {vars(store)!r}")


FAULTS = {
    "refused": answered(400, VALUE, VALUE, VALUE),
    "denied": answered(403, VALUE, VALUE, VALUE),
    "absent": answered(404, "SecretNotFound", VALUE, VALUE),
    "unauthorized": answered(401, VALUE, VALUE, VALUE),
    "conflict": answered(409, VALUE, VALUE, VALUE),
    "broken": answered(500, VALUE, VALUE, VALUE),
    "no JSON": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + VALUE.encode()),
    "another shape": raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    ),
    "cut off": raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n" + BODY),
    "no HTTP": raw(f"HTTP/1.1 {VALUE} x\r\n\r\n".encode()),
    "redirect": raw(f"HTTP/1.1 307 x\r\nLocation: https://{VALUE}/\r\nContent-Length: 0\r\n\r\n".encode()),
    "lost": lost,
}


@pytest.mark.parametrize("name", FAULTS)
def test_failure_shows_nothing(key_vault, name):
    """Not even before the guard drops the frames, and not to a server that reflects its requests."""
    store = key_vault.open()
    store.write("app", check_data("app", DATA))
    ours = operations(store)
    with key_vault.fault(FAULTS[name]):
        failures = [failure for operation in ours.values() if (failure := failure_of(operation)) is not None]
    assert failures
    assert not [shown for failure in failures if (shown := exposed(failure))]


def test_refused_login_shows_nothing(key_vault, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", f"{VALUE}-wrong")
    with pytest.raises(StrongroomError) as caught:
        key_vault.open().read("app")
    assert not exposed(caught.value)


def test_log_of_others_with_the_sdk_is_their_own(key_vault, caplog):
    """Only the records of our calls are left out."""
    key_vault.open().probe()
    with caplog.at_level(logging.INFO):
        logging.getLogger("azure.identity").info("kept")
    assert [record.getMessage() for record in caplog.records if record.name == "azure.identity"] == ["kept"]
    caplog.clear()
