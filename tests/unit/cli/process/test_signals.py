"""Signals that arrive in the instant before this process begins to wait, when Python runs no handler any more."""

import os
import signal
from ctypes import pythonapi
from functools import partial

import pytest

from strongroom._cli.process import signals
from strongroom._cli.process.signals import SignalArrival, handled, until_ended
from support.clock import LONG


class ArrivedError(Exception):
    """The handler ran."""


def handler(*_):
    raise ArrivedError


class SignaledDescriptor:
    """A descriptor; when it is first used, a signal arrives. No bytecode runs between that and the system call."""

    def __init__(self, descriptor, number):
        arrivals = map(pythonapi.PyErr_SetInterruptEx, [number])
        self.fileno = partial(sum, arrivals, descriptor)


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_a_signal_just_before_the_wait_is_not_lost(pipe):
    """Its handler runs at once, although nothing can be read and the wait has no limit."""
    with handled([signal.SIGHUP], handler), SignalArrival() as arrival, pytest.raises(ArrivedError):
        arrival.readable(SignaledDescriptor(pipe[0], signal.SIGHUP))


def test_what_can_be_read_is_told_from_a_signal_and_from_the_end_of_the_time(pipe):
    """A signal that is handled does not end the wait for a descriptor."""
    reader, writer = pipe
    with handled([signal.SIGHUP], lambda *_: None), SignalArrival() as arrival:
        signal.raise_signal(signal.SIGHUP)
        assert not arrival.readable(reader, 0.01)
        with handled([signal.SIGHUP], lambda *_: os.write(writer, b"x")):
            assert arrival.readable(SignaledDescriptor(reader, signal.SIGHUP), LONG)


def test_the_end_of_a_child_at_the_end_of_the_block_has_a_handler():
    """Python prints an error for a signal whose handler is gone when it would run."""
    with SignalArrival():
        pass
    assert callable(signal.getsignal(signal.SIGCHLD))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_a_long_command_is_not_lost(number, monkeypatch):
    """`rotate run` and `export --watch` wait for it, for a minute or without a limit."""

    class EarlySignal(SignalArrival):
        def __enter__(self):
            entered = super().__enter__()
            self._reader = SignaledDescriptor(self._reader, number)
            return entered

        def _take(self):
            self._reader = self._reader.fileno()
            super()._take()

    monkeypatch.setattr(signals, "SignalArrival", EarlySignal)
    with until_ended() as end:
        assert end.wait(LONG)
    assert end.interrupted == (number == signal.SIGINT)


def test_the_wait_for_the_end_has_a_limit():
    """Then the next round of `rotate run` begins."""
    with until_ended() as end:
        assert not end.wait(0.01)
