"""Measure the encryption of a short text beside AESGCM alone, MultiFernet and sqlalchemy-utils, and write a table.

    PYTHONPATH=tests python -m bench.columns FILE [--once]

Each number is the least of several rounds, in CPU time. With `--once`, each row is measured once, with small numbers:
that checks the benchmark, and says nothing about time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy_utils import StringEncryptedType
from sqlalchemy_utils.types.encrypted.encrypted_type import AesEngine, AesGcmEngine

from strongroom.encryption import FieldCipher, new_key
from strongroom.integrations.sqlalchemy import EncryptedString
from strongroom.testing import override

PATH = "columns/customer"
VALUE = "DE893704004405320130"
ROUNDS = 9
TIMES = 20_000

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]
"""Encryption and decryption."""


def contenders() -> dict[str, Pair]:
    """Return each contender by its name. The first one is the unit."""
    alone, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    keys = [Fernet(Fernet.generate_key()) for _ in range(4)]
    newest, oldest = MultiFernet(keys), MultiFernet(keys[::-1])
    cipher = FieldCipher(PATH, "customer.iban")
    kind = EncryptedString(PATH)
    Table("customer", MetaData(), Column("iban", kind))
    found: dict[str, Pair] = {
        "AESGCM alone": (
            lambda value: alone.encrypt(nonce, value.encode(), None),
            lambda data: alone.decrypt(nonce, data, None),
        ),
        "`FieldCipher`": (cipher.encrypt, cipher.decrypt),
        "`EncryptedString`": _of_type(kind),
        "MultiFernet of four keys": (
            lambda value: newest.encrypt(value.encode()).decode(),
            lambda text: newest.decrypt(text).decode(),
        ),
        "the same, of the oldest key": (
            lambda value: keys[0].encrypt(value.encode()).decode(),
            lambda text: oldest.decrypt(text).decode(),
        ),
    }
    for engine in (AesEngine, AesGcmEngine):
        found[f"sqlalchemy-utils, {engine.__name__}"] = _of_type(StringEncryptedType(key="k" * 32, engine=engine))
    return found


def _of_type(kind: Any) -> Pair:
    dialect = postgresql.dialect()
    return kind.bind_processor(dialect), kind.result_processor(dialect, None)


def measured(*, once: bool) -> dict[str, tuple[float, float]]:
    """Return the nanoseconds of an encryption and of a decryption of each contender, which take turns."""
    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    for name, (encrypt, decrypt) in contenders().items():
        text = encrypt(VALUE)
        calls[name, 0] = lambda encrypt=encrypt: encrypt(VALUE)
        calls[name, 1] = lambda decrypt=decrypt, text=text: decrypt(text)
    least = dict.fromkeys(calls, float("inf"))
    times = 10 if once else TIMES
    for _ in range(1 if once else ROUNDS):
        for name, call in calls.items():
            began = time.process_time_ns()
            for _ in range(times):
                call()
            least[name] = min(least[name], (time.process_time_ns() - began) / times)
    return {name: (least[name, 0], least[name, 1]) for name, way in calls if way == 0}


def table(found: dict[str, tuple[float, float]]) -> str:
    """Return the table in Markdown."""
    unit = next(iter(found.values()))
    lines = ["| 20 characters | encrypt | decrypt |", "| --- | --- | --- |"]
    for name, each in found.items():
        cells = (f"{ns / 1000:.2f} µs ({ns / base:.1f})" for ns, base in zip(each, unit, strict=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(file: str, *options: str) -> None:
    """Measure all contenders, and write the table."""
    with override({PATH: dict([new_key(())])}):
        found = measured(once="--once" in options)
    Path(file).write_text(table(found), "utf-8")
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
