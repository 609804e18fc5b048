"""What another process of a test does: in a module that one which was not forked can import too."""

from __future__ import annotations

import threading

from strongroom_vault.plugin import open_vault
from support.vault.sessions import token_of


def renewers():
    """The threads that keep tokens alive."""
    return [thread for thread in threading.enumerate() if thread.name == "vault token"]


def read_and_close(store):
    """The value, the token it was read with, and how many threads kept that alive before and after the end."""
    value = store.read("mine/app").data["k"]
    token, threads = token_of(store), len(renewers())
    store.close()
    return value, token, threads, len(renewers())


def answer_with_own_store(options, answers):
    """Opens a store and answers what it reads."""
    answers.put(read_and_close(open_vault(**options))[:2])


def answer_with(store, answers):
    """Answers what the store that came with the fork reads."""
    answers.put(read_and_close(store)[:2])
