"""A process that rotates a secret in children, which kill themselves at a boundary of a step.

It has one thread, so that it can fork safely. Each line on stdin is `COMMAND BOUNDARY`, where a boundary is the number
of a call of the rotator or a write to the store, before and after; the answer is `done`, `killed` or an error.
"""

from __future__ import annotations

import os
import signal
import sys

# Imported once, for all children.
import hvac.api  # noqa: F401
import psycopg  # noqa: F401
import stevedore.driver  # noqa: F401

import strongroom._config.discovery
import strongroom.rotate.rotations  # noqa: F401
import strongroom_rotators.postgres  # noqa: F401
import strongroom_vault.plugin
import strongroom_vault.store.kv2_versions  # noqa: F401
from strongroom._manager import SecretsManager
from strongroom.errors import StrongroomError
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.ledger import Ledger

FAILED = 3


def kill_at(boundary):
    """Let this process end at the boundary, without a chance to give its lease up or to close a connection."""
    left = boundary

    def pass_boundary():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    calls = [(GuardedRotator, name) for name in ("create", "apply", "prove", "revoke")]
    for owner, name in (*calls, (Ledger, "_written")):
        original = getattr(owner, name)

        def wrapped(self, *arguments, original=original):
            pass_boundary()
            result = original(self, *arguments)
            pass_boundary()
            return result

        setattr(owner, name, wrapped)


def work(config, path, command, boundary):
    """Run one command of the rotation, and return the exit code."""
    kill_at(boundary)
    try:
        with SecretsManager.from_config(config) as manager:
            options = {} if command == "rotate" else {"take_over": True}
            getattr(manager.rotations, command)(path, **options)
    except StrongroomError as error:
        say(f"{type(error).__name__}: {error}")
        return FAILED
    return 0


def say(answer):
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()


def main(config, path):
    for line in sys.stdin:
        command, boundary = line.split()
        child = os.fork()
        if child == 0:
            os._exit(work(config, path, command, int(boundary)))
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            say("killed")
        elif os.WEXITSTATUS(status) == 0:
            say("done")
        elif os.WEXITSTATUS(status) != FAILED:
            say("crashed")


if __name__ == "__main__":
    main(*sys.argv[1:])
