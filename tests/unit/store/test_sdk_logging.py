"""The log of an SDK while a store calls it."""

import logging

from strongroom.store.sdk_logging import silenced_logs


def test_only_the_named_packages_are_silent(caplog):
    """A logger keeps the filter that the block of another store gave it."""
    caplog.set_level(logging.DEBUG)
    first, second = logging.getLogger("sdk_first.http"), logging.getLogger("sdk_second.http")
    with silenced_logs("sdk_first"):
        first.debug("dropped")
        second.debug("kept")
    with silenced_logs("sdk_second"):
        first.debug("kept")
        second.debug("dropped")
    assert caplog.messages == ["kept", "kept"]


def test_a_block_within_a_block_adds_its_packages(caplog):
    """The packages of the outer block stay silent within the inner one, and none afterwards."""
    caplog.set_level(logging.DEBUG)
    outer, inner = logging.getLogger("sdk_outer"), logging.getLogger("sdk_inner")
    with silenced_logs("sdk_outer"):
        with silenced_logs("sdk_inner"):
            outer.debug("dropped")
            inner.debug("dropped")
        inner.debug("kept")
    outer.debug("kept")
    assert caplog.messages == ["kept", "kept"]
