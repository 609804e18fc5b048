"""No token and no value is anywhere that somebody else can see, whatever fails."""

import json
import logging

import pytest

from strongroom.errors import StrongroomError
from strongroom.secret import check_data
from strongroom.store import time_limit
from strongroom_vault.plugin import open_vault
from support.scenarios.exposure import shown_by
from support.vault.engines import open_engine
from support.vault.sessions import session_of

TOKEN, VALUE, NUMBER = "s.canary-token", "canary-value", 987654321123
CANARIES = ("canary-token", "canary-value", str(NUMBER))


def exposed(error):
    """The canaries that an error, its attributes, its contexts or the frames of our code on its way show."""
    text = shown_by(error, __file__)
    return [canary for canary in CANARIES if canary in text]


@pytest.fixture(autouse=True)
def quiet_log(caplog, capfd):
    """Every logger at DEBUG: hvac's, urllib3's and requests' too; and what libcurl may print."""
    caplog.set_level(logging.DEBUG)
    yield
    assert not [canary for canary in CANARIES if canary in "".join(capfd.readouterr())]
    for record in [*caplog.get_records("setup"), *caplog.get_records("call")]:
        assert not [canary for canary in CANARIES if canary in f"{record.getMessage()} {vars(record)}"]


BODY = json.dumps({"errors": [VALUE, TOKEN], "data": {"data": {"k": VALUE, "n": NUMBER}}}).encode()


def failures(answered):
    """Servers that hand back what they were sent, each in a way of its own."""
    cut = answered(200, BODY, ["Connection: close"], length=5000)

    def send_and_close(connection):
        connection.sendall(cut)
        connection.shutdown(1)

    yield from (answered(status, BODY) for status in (400, 401, 403, 404, 405, 413, 418, 500, 501, 503))
    yield from (answered(307, BODY, [f"Location: http://127.0.0.1:1/{VALUE}"]), answered(200, BODY + b"}"), None)
    yield from (answered(200, BODY), answered(200, BODY, [f"X-Vault-Index: {VALUE}"]), send_and_close)
    yield f"HTTP/1.1 {VALUE} x\r\n\r\n".encode()
    yield f"HTTP/1.1 200 x\r\nContent-Length: {VALUE}\r\n\r\n".encode()
    yield f"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n{VALUE}\r\n".encode()
    yield f"HTTP/1.1 200 x\r\nContent-Length: 2\r\n{VALUE}\r\n\r\n{{}}".encode()
    yield f"HTTP/1.1 200 x\r\n {VALUE}: {VALUE}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


def failure_of(operation):
    """What it raises; None where the server's answer was good enough, which then shows nothing either."""
    try:
        with time_limit(0.15):
            shown = repr(operation())
    except StrongroomError as error:
        return error
    assert not [canary for canary in CANARIES if canary in shown]
    return None


@pytest.mark.parametrize("number", range(21))
@pytest.mark.parametrize(("version", "driver"), [(1, "urllib3"), (2, "curl")], indirect=["driver"])
def test_failure_shows_nothing(fault_server, answered, driver, version, number):
    """Not even before the front drops the frames, and not to a server that reflects what it was sent."""
    answer = list(failures(answered))[number]
    fault_server.answers[:] = [answer]
    store = open_engine(version, url=fault_server.url, token=TOKEN)
    data = check_data("app", {"k": VALUE, "n": NUMBER, "b": VALUE.encode(), "deep": [{"k": VALUE}, NUMBER]})
    operations = {
        "read": lambda: store.read("app"),
        "write": lambda: store.write("app", data),
        "delete": lambda: store.delete("app"),
        "list": lambda: list(store.list_entries("")),
        "probe": store.probe,
    }
    if version == 2:
        operations |= {
            "write_if": lambda: store.write_if("app", data, None),
            "versions": lambda: store.versions("app"),
            "read_version": lambda: store.read_version("app", 1),
            "undelete": lambda: store.undelete("app", 1),
            "destroy": lambda: store.destroy("app", 1),
            "read_metadata": lambda: store.read_metadata("app"),
            "write_metadata": lambda: store.write_metadata("app", {"owner": "billing"}),
        }
    failed = {name: error for name, operation in operations.items() if (error := failure_of(operation)) is not None}
    assert len(failed) >= 2
    assert not {name: shown for name, error in failed.items() if (shown := exposed(error))}
    store.close()


def test_opening_that_fails_shows_nothing(fault_server, answered, driver):
    """The opener's frame held the token; the error comes without it."""
    for answer in failures(answered):
        fault_server.answers[:] = [answer]
        for options in ({"token": TOKEN}, {"token": None, "auth": {"method": "token", "token": TOKEN}}):
            with time_limit(0.3), pytest.raises(StrongroomError) as caught:
                open_vault(url=fault_server.url, **options)
            assert not exposed(caught.value)


def test_success_shows_nothing(fault_server, stored, driver):
    """A store, a secret and a health say nothing either."""
    fault_server.answers[:] = [stored(k=VALUE, n=NUMBER)]
    store = open_engine(2, url=fault_server.url, token=TOKEN)
    secret = store.read("app")
    assert secret.data["k"] == VALUE
    shown = f"{store!r} {secret!r} {vars(store)!r} {session_of(store)!r}"
    assert not [canary for canary in CANARIES if canary in shown]
    store.close()
    assert session_of(store).active_token is None


@pytest.mark.parametrize("version", [1, 2])
def test_refused_data_shows_nothing(fault_server, stored, version):
    """Too large, and an integer that would change: found before anything is sent."""
    fault_server.answers[:] = [stored(k="v")]
    store = open_engine(version, url=fault_server.url, token=TOKEN)
    store.read("app")
    for data in ({"k": VALUE * 100_000}, {"k": VALUE, "n": 2**60}):
        with pytest.raises(StrongroomError) as caught:
            store.write("app", check_data("app", data))
        assert not exposed(caught.value)
    store.close()
