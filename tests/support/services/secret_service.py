"""A real Secret Service: a session bus of D-Bus and gnome-keyring, unlocked without a desktop."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import secretstorage
from jeepney.io.blocking import open_dbus_connection

from support.programs import require

LIMIT = 60.0

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:dir={folder}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy>
</busconfig>"""
"""A bus that starts no service by itself, so that no prompt appears."""


@contextmanager
def secret_service(*, locked: bool = False) -> Iterator[str]:
    """Yield the address of a bus with an unlocked keyring, or a locked one. Skip if a program is not installed."""
    require("dbus-daemon", "gnome-keyring-daemon")
    with tempfile.TemporaryDirectory(prefix="bus-", ignore_cleanup_errors=True) as folder:
        config = Path(folder, "bus.conf")
        config.write_text(_BUS.format(folder=folder))
        bus = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "DISPLAY"},
            **{f"XDG_{name}": folder for name in ("RUNTIME_DIR", "DATA_HOME", "CONFIG_HOME", "CACHE_HOME")},
        }
        with subprocess.Popen(bus, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as daemon:
            try:
                address = daemon.stdout.readline().strip()
                environment["DBUS_SESSION_BUS_ADDRESS"] = address
                with _keyring(environment) as keyring:
                    try:
                        _wait(address, locked=locked)
                        yield address
                    finally:
                        keyring.kill()
            finally:
                daemon.kill()


def _keyring(environment):
    arguments = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    process.stdin.write(b"password of the keyring")
    process.stdin.close()
    return process


def _wait(address, *, locked):
    """Wait until the keyring answers."""
    limit = time.monotonic() + LIMIT
    while True:
        try:
            with open_dbus_connection(address) as connection:
                collection = secretstorage.get_default_collection(connection)
                if not collection.is_locked():
                    if locked:
                        collection.lock()
                    return
        except (secretstorage.SecretStorageException, OSError):
            pass
        assert time.monotonic() < limit, "gnome-keyring does not answer"
        time.sleep(0.05)
