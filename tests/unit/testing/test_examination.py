"""The examination of errors by the contracts notices a value, and that there is nothing to examine."""

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
