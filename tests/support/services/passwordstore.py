"""A real password store of `pass`, with a throw-away GPG key."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.programs import require

RECIPIENT = "strongroom-tests@example.org"


class PasswordStore:
    """A GPG home with one key.

    Attributes:
        variables: the environment of `pass`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self.variables = {"GNUPGHOME": str(home)}

    def init(self, root: Path) -> Path:
        """Make a folder a password store for the key."""
        root.mkdir(parents=True, exist_ok=True)
        (root / ".gpg-id").write_text(f"{RECIPIENT}\n")
        return root

    def run(self, root: Path, *arguments: str, piped: bytes = b"") -> bytes:
        """Run `pass` and return its output."""
        environment = {**os.environ, **self.variables, "PASSWORD_STORE_DIR": str(root)}
        done = subprocess.run(["pass", *arguments], input=piped, capture_output=True, check=True, env=environment)
        return done.stdout


@contextmanager
def password_store() -> Iterator[PasswordStore]:
    """Make a key for the block. Skip the test if a program is not installed."""
    require("pass", "gpg", "gpgconf")
    # The path of the agent's socket must be short.
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        gpg = ["gpg", "--homedir", folder, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        try:
            subprocess.run(
                [*gpg, "--quick-generate-key", RECIPIENT, "future-default", "default", "never"],
                check=True,
                capture_output=True,
            )
            yield PasswordStore(home)
        finally:
            subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, capture_output=True)
