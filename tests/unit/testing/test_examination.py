"""The examination of errors by the contracts notices a value, and that there is nothing to examine."""

import base64
import uuid

import pytest

from strongroom.errors import StoreUnavailableError
from strongroom.testing.cases import CANARY
from strongroom.testing.store_contract import base


def leaking(value):
    raise StoreUnavailableError("a/b", "no answer")


def harmless(_):
    leaking("not a value of the suite")


def test_a_value_in_a_frame_of_the_plugin_is_noticed():
    with pytest.raises(StoreUnavailableError) as caught:
        leaking(CANARY)
    with pytest.raises(AssertionError, match="the traceback of StoreUnavailableError shows a value"):
        base.examine(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"'{CANARY}-password'",
        f"{CANARY[:4]}****",
        base64.b64encode(f'{{"a": "{CANARY}-password"}}'.encode()).decode(),
        base64.urlsafe_b64encode(f"app:{CANARY}-token".encode()).decode(),
        f"{CANARY}-password".encode().hex(),
        f"{CANARY}-password".encode().hex(":").replace(":", "").upper(),
    ],
)
def test_a_value_is_noticed_in_each_form(text):
    assert base.shows_value(f"it is {text}")


@pytest.mark.parametrize("text", ["canary", "password", uuid.UUID(int=0xC4A4), base64.b64encode(b"canary-password")])
def test_other_text_is_no_value(text):
    assert not base.shows_value(text)


def test_an_error_without_a_value_passes():
    with base.fails(StoreUnavailableError):
        harmless(None)


def test_an_error_without_a_frame_to_examine_fails(monkeypatch):
    """A suite that takes each frame for one of its own would notice no value."""
    monkeypatch.setattr(base, "_SUITE", "")
    with pytest.raises(AssertionError, match="has no frame to examine"), base.fails(StoreUnavailableError):
        harmless(None)


def test_an_error_that_a_bulk_call_returned_needs_no_frame():
    returned = StoreUnavailableError("a/b", "no answer")
    with base.fails(StoreUnavailableError):
        base._only(iter([("a/b", returned)]))
