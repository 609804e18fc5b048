"""The openers of file stores. Their signatures are the schema of their options."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

from strongroom._files.age import Encryption
from strongroom._files.codec import JsonCodec
from strongroom._files.file_store import MAX_SIZE, FileStore
from strongroom.errors import ConfigurationError, MissingFileError
from strongroom.formats.variables import EnvironmentMapping
from strongroom.store import Option

_File = Annotated[Path, Option("the file; the first write creates it", location=True)]
_Recipients = Annotated[
    list[str] | None,
    Option("age recipients, such as age1…, that the file is encrypted to when it is written", recipients=True),
]
_Identity = Annotated[Path | None, Option("a file with the age identity that decrypts the file")]


def open_json(*, file: _File, encrypt_to: _Recipients = None, identity: _Identity = None) -> FileStore:
    """A JSON file: an object of paths, each an object of keys."""
    return FileStore(file, JsonCodec(), Encryption(encrypt_to or (), identity))


def open_yaml(*, file: _File, encrypt_to: _Recipients = None, identity: _Identity = None) -> FileStore:
    """A YAML file: a mapping of paths, each a mapping of keys."""
    from strongroom._files.yaml_codec import YamlCodec

    return FileStore(file, YamlCodec(), Encryption(encrypt_to or (), identity))


def open_csv(*, file: _File, encrypt_to: _Recipients = None, identity: _Identity = None) -> FileStore:
    """A CSV file with the columns path, key, value and type."""
    from strongroom._files.csv_codec import CsvCodec

    return FileStore(file, CsvCodec(MAX_SIZE), Encryption(encrypt_to or (), identity))


def open_kubernetes(
    *,
    file: _File,
    namespace: Annotated[
        str | None, Option("the namespace of the Secrets; without it, all are read and none is written", locates=True)
    ] = None,
    encrypt_to: _Recipients = None,
    identity: _Identity = None,
) -> FileStore:
    """A file of Kubernetes manifests of the kind Secret. Other documents in it stay as they are."""
    from strongroom._files.kubernetes_codec import KubernetesCodec
    from strongroom.formats.kubernetes import is_namespace

    if namespace is not None and not is_namespace(namespace):
        raise ConfigurationError(f"The option namespace: {namespace!r} can be no namespace of Kubernetes")
    return FileStore(file, KubernetesCodec(namespace), Encryption(encrypt_to or (), identity))


def open_dotenv(
    *,
    mapping: EnvironmentMapping,
    file: _File = Path(".env"),
    encrypt_to: _Recipients = None,
    identity: _Identity = None,
) -> FileStore:
    """A .env file as a target of migrations: its variables are named by the rows of the mapping.

    In a chain, `dotenv` is another, read-only store, so that writes go past it to a real store.
    """
    from strongroom._files.dotenv_codec import DotenvCodec

    return FileStore(file, DotenvCodec(mapping), Encryption(encrypt_to or (), identity))


def _source(opener: Callable[..., FileStore]) -> Callable[..., FileStore]:
    """Return an opener that requires the file to exist, because a missing source is a mistyped name."""

    @wraps(opener)
    def open_source(*, file: Path, **options: Any) -> FileStore:
        if not os.path.exists(file):  # noqa: PTH110  # Path.exists raises for a name that is too long
            raise MissingFileError(f"There is no {file}")
        return opener(file=file, **options)

    return open_source


import_json = _source(open_json)
import_yaml = _source(open_yaml)
import_csv = _source(open_csv)
import_kubernetes = _source(open_kubernetes)
