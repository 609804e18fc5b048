"""Ctrl-C ends a command, wherever Python's handler of the signal runs."""

import subprocess
import sys

import pytest

COMMAND = """
import signal, sys, threading, time, weakref
from strongroom._cli import app, main

class Thing:
    def __del__(self):
        if sys.argv[1] == "destructor":
            signal.raise_signal(signal.SIGINT)

def interrupted(_):
    if sys.argv[1] == "callback":
        signal.raise_signal(signal.SIGINT)

def generator():
    try:
        yield
    finally:
        if sys.argv[1] == "generator":
            signal.raise_signal(signal.SIGINT)

def work(arguments):
    thing = Thing()
    reference = weakref.ref(thing, interrupted)
    begun = generator()
    next(begun)
    del thing, begun
    print("goes on", flush=True)
    threading.Event().wait(50)
    return 0

app.run = work
main.main(["get"])
"""


@pytest.mark.parametrize("where", ["callback", "destructor", "generator"])
def test_interrupt_where_python_cannot_raise_ends_the_command(where):
    """In a callback of a weak reference, as the import system has one, in a destructor and in a collected generator."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, where], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "goes on\n", "")
