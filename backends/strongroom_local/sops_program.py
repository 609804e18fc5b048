"""Runs of `sops`: decryption, encryption, and edits of an encrypted content in memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.encoding import to_json_text
from strongroom.errors import (
    ConfigurationError,
    InvalidDataError,
    PermissionDeniedError,
    SecretTooLargeError,
    StoreError,
    StoreUnavailableError,
    StrongroomError,
)
from strongroom.formats.strict_json import read_json
from strongroom.secret import Value
from strongroom.store.program import run_program

MAX_SIZE = 1 << 24
"""The largest file, in bytes, encrypted or not."""

_VARIABLES = (
    "GNUPGHOME",
    "SOPS_AGE_KEY",
    "SOPS_AGE_KEY_CMD",
    "SOPS_AGE_KEY_FILE",
    "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
    "SOPS_GPG_EXEC",
    "XDG_CONFIG_HOME",
)

# https://github.com/getsops/sops/blob/main/cmd/sops/codes/codes.go
_CHANGED = frozenset({24, 25, 51, 52})
_NO_KEY = 128

_SERVICES = (b"kms:", b"gcp_kms:", b"azure_kv:", b"hc_vault:", b"hckms:", b'kms"', b'azure_kv"', b'hc_vault"')
"""Names in the metadata of a file whose key a service keeps."""


class SopsEdit(NamedTuple):
    """A value that is set, or removed if `removed`. `names` lead to it from the top of the file."""

    names: tuple[str, ...]
    value: Value = None
    removed: bool = False


class Sops:
    """The program for files of one format.

    Args:
        program: the binary.
        kind: `yaml` or `json`.
        variables: environment variables of the program; those which it needs are added.
    """

    def __init__(self, program: str, kind: str, variables: Mapping[str, str]) -> None:
        self._program = program
        self._kind = kind
        self._variables = variables

    def decrypt(self, content: bytes) -> dict[str, Any]:
        """Return the top-level mapping.

        Raises:
            PermissionDeniedError: no key decrypts it.
            StoreUnavailableError: a service may keep a key, and none decrypts it now; or `sops` failed otherwise.
            InvalidDataError: it was changed without sops, or is not a mapping.
        """
        types = ["--input-type", self._kind, "--output-type", "json"]
        output = self._run(["decrypt", *types, "/dev/stdin"], content, content)
        try:
            tree = read_json(output.decode())
        except (UnicodeDecodeError, InvalidDataError):
            tree = None
        if isinstance(tree, dict):
            return tree
        del output, tree
        raise InvalidDataError(None, "it is not a mapping whose values JSON can hold")

    def encrypt(self, tree: Mapping[str, Value], file: Path, recipients: Sequence[str]) -> bytes:
        """Return the content of a new file, for these age recipients, or by the creation rules for the file."""
        keys = ["--age", ",".join(recipients)] if recipients else []
        rules = [] if recipients else _creation_rules(file)
        if not keys and not rules:
            raise StoreError(
                None,
                "no recipient is configured for a new file",
                hint="Set encrypt_to, or write creation rules: .sops.yaml",
            )
        types = ["--input-type", "json", "--output-type", self._kind]
        arguments = [*rules, "encrypt", *keys, *types, "--filename-override", str(file), "/dev/stdin"]
        return self._run(arguments, b"", to_json_text(tree).encode())

    def edit(self, content: bytes, changes: Iterable[SopsEdit]) -> bytes:
        """Return the content after the changes, in their order. What they do not name stays as it is."""
        types = ["--input-type", self._kind, "--output-type", self._kind]
        with _scratch(content) as (name, descriptor):
            for names, value, removed in changes:
                index = "".join(f'["{part}"]' for part in names)
                if removed:
                    self._run(["unset", *types, name, index], content, b"")
                else:
                    self._run(["set", *types, "--value-stdin", name, index], content, to_json_text(value).encode())
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

    def names_and_values(self, content: bytes) -> dict[str, Any]:
        """Return the top-level mapping of an encrypted content as it is."""
        if self._kind == "json":
            tree = json.loads(content)
        else:
            import yaml

            tree = yaml.safe_load(content)
        return tree if isinstance(tree, dict) else {}

    def _is_encrypted(self, content: bytes) -> bool:
        """Return False for a file without the metadata of sops; True if its format cannot be read either."""
        try:
            return "sops" in self.names_and_values(content)
        except Exception:  # noqa: BLE001  # ValueError, and PyYAML's own errors, whose text may quote a value
            return True

    def _run(self, arguments: Sequence[str], content: bytes, given: bytes) -> bytes:
        environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        fault: StrongroomError
        try:
            code, output = run_program(
                [self._program, *arguments], given, variables={**environment, **self._variables}, limit=MAX_SIZE
            )
        except TimeoutError:
            fault = StoreUnavailableError(None, "sops has not ended in time")
        except OSError as error:
            fault = ConfigurationError(f"sops cannot be started: {error.strerror}")
        else:
            if code == 0 and len(output) <= MAX_SIZE:
                return output
            fault = _fault(code, content) if not content or self._is_encrypted(content) else _plain()
        del given
        raise fault


def _plain() -> InvalidDataError:
    """Return the error for a file that nobody has encrypted: sops has no separate exit code for it."""
    return InvalidDataError(None, "it is not encrypted with sops", hint="Run `sops encrypt --in-place` on it")


def _fault(code: int, content: bytes) -> StoreError:
    """Return the error that an exit code means."""
    if code <= 0:
        return SecretTooLargeError(None, f"it has more than {MAX_SIZE:,} bytes")
    if code in _CHANGED:
        return InvalidDataError(None, "it has been changed without sops", hint="Restore it, or run `sops edit` on it")
    if code != _NO_KEY:
        return StoreUnavailableError(None, f"sops ended with exit code {code}", hint="Run `sops decrypt` to see why")
    if any(name in content for name in _SERVICES):
        return StoreUnavailableError(None, "sops got its key from no service", hint="Run `sops decrypt` to see why")
    return PermissionDeniedError(
        None, "no key here decrypts it", hint="Set identity, SOPS_AGE_KEY_FILE or SOPS_AGE_KEY"
    )


def _creation_rules(file: Path) -> list[str]:
    """Return the arguments that name the nearest `.sops.yaml` in the folders above the file, if there is one."""
    found = (folder / ".sops.yaml" for folder in file.parents if (folder / ".sops.yaml").is_file())
    return [argument for config in list(found)[:1] for argument in ("--config", str(config))]


@contextmanager
def _scratch(content: bytes) -> Iterator[tuple[str, int]]:
    """Yield the name and the descriptor of a file that `sops` can rewrite: in memory if the system has such files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("sops")
        name = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, name = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        yield name, descriptor
    finally:
        os.close(descriptor)
        if not name.startswith("/proc/"):
            Path(name).unlink()
