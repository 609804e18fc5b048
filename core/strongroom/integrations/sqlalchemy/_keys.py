"""Encrypt the texts of a column anew under the present key, count the texts of each key, and drop a key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, MetaData, Table, TableClause, Text

from strongroom._chain.history import now_utc
from strongroom._config import CacheConfig
from strongroom._manager import SecretsManager
from strongroom._manager.manager import parts_of
from strongroom.encryption import Keyset, load
from strongroom.encryption.cipher import prefix_of
from strongroom.encryption.keyset import RECHECK
from strongroom.errors import ConfigurationError, ConflictError, DecryptionError, SecretNotFoundError
from strongroom.integrations.sqlalchemy._columns import EncryptedType
from strongroom.rotate.ledger import Ledger
from strongroom.secret import Value
from strongroom.secrets_manager import default_manager

BATCH = 500
"""Rows that are locked and written in one transaction."""

MOST_FAULTS = 100
"""Rows that cannot be decrypted, after which `rewrap` ends: `legacy=` may be the wrong one."""

_NAMED_FAULTS = 10
"""Rows that the error names."""

_LOCK_PAUSE = 0.2
"""Seconds until rows that others have locked are tried again."""

UNKNOWN = ""
"""The id under which `key_usage` counts texts that no key of the keyset has encrypted, such as plain text."""


def rewrap(
    engine: Engine, column: Any, *, batch: int = BATCH, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Encrypt the texts of a column anew that have an older key, a former context, or are read by `legacy=`.

    Applications read and write meanwhile. Each batch is a transaction that locks its rows, leaves out rows that others
    have locked, and writes a text only over the one that it has read; passes follow until nothing is left. Nothing
    outside of the table records how far it is: if it is killed, run it again. No `onupdate` default of a column runs.
    During the grace time of a rotation the former key still encrypts: rewrap when the rotation is done. It does not
    know other processes: one that has not read the new key yet writes texts of the older one afterwards, so run it
    again once every process has.

    Args:
        engine: of a synchronous driver.
        column: such as `Customer.iban`, or `customer.c.iban`. Its table needs a primary key of one column.
        batch: rows of one transaction.
        progress: is called after each batch with the number of texts that were encrypted anew.

    Returns:
        The number of texts that were encrypted anew.

    Raises:
        ConfigurationError: the column is not encrypted, or the table has no such primary key.
        DecryptionError: texts cannot be decrypted. All others are encrypted anew, unless a hundred cannot: then it
            ends at once. It is the error of the first, and names the first ten rows whose key is a number or a UUID.
    """
    texts = _Texts(column, batch)
    load(texts.type.path, manager=texts.type.manager, fresh=True)
    done = 0
    while True:
        before = done
        for count in texts.rewrapped(engine):
            done += count
            progress(done)
            if len(texts.faults) >= MOST_FAULTS:
                raise texts.fault()
        if not texts.is_left(engine):
            break
        if done == before:
            time.sleep(_LOCK_PAUSE)
    if texts.faults:
        raise texts.fault()
    return done


class _Texts:
    """The texts of a column, as the database holds them.

    Attributes:
        faults: the errors of the texts that cannot be decrypted, by the keys of their rows.
    """

    def __init__(self, attribute: Any, batch: int) -> None:
        column = attribute.property.columns[0] if hasattr(attribute, "property") else attribute  # mapped, or not
        if not isinstance(column, Column) or not isinstance(column.type, EncryptedType):
            raise ConfigurationError("rewrap needs an encrypted column, such as Customer.iban")
        if len(column.table.primary_key) != 1:
            raise ConfigurationError(f"rewrap needs a primary key of one column, and {column.table.name} has another")
        (key,) = column.table.primary_key
        self.type = column.type
        self._table = _raw(column.table)
        self._text, self._key = self._table.c[column.name], self._table.c[key.name]
        self._batch = batch
        self.faults: dict[Any, DecryptionError] = {}

    def rewrapped(self, engine: Engine) -> Iterator[int]:
        """Encrypt the texts anew in one pass, and yield the number in each batch."""
        last = None
        while True:
            with engine.begin() as connection:
                rows = self._rows(connection, last, lock=True)
                if not rows:
                    return
                last = rows[-1][0]
                changes = [change for row in rows if (change := self._change(engine, *row)) is not None]
                if changes:
                    self._write(connection, changes)
            yield len(changes)

    def is_left(self, engine: Engine) -> bool:
        """Return True if a text is not current. Rows that are locked count too, and those with a fault do not."""
        last = None
        with engine.connect() as connection:
            while rows := self._rows(connection, last, lock=False):
                if not all(key in self.faults or self.type.cipher.is_current(text) for key, text in rows):
                    return True
                last = rows[-1][0]
        return False

    def _rows(self, connection: Connection, last: Any, *, lock: bool) -> list[tuple[Any, str]]:
        query = sa.select(self._key, self._text).order_by(self._key).limit(self._batch)
        query = query.where(self._text.is_not(None), *([] if last is None else [self._key > last]))
        if len(self.type.cipher.columns) == 1:  # otherwise the prefix does not tell
            query = query.where(~self._text.startswith(self.type.cipher.current_prefix(), autoescape=True))
        if lock:
            query = query.with_for_update(skip_locked=True)
        return [(key, text) for key, text in connection.execute(query)]

    def fault(self) -> DecryptionError:
        """Return the error of the first text that cannot be decrypted, with the keys of the rows."""
        failure = next(iter(self.faults.values()))
        rows = [str(key) for key in self.faults if isinstance(key, int | UUID)]  # another key may be personal data
        if rows:
            named = ", ".join(rows[:_NAMED_FAULTS])
            more = " and more" if len(rows) > _NAMED_FAULTS or len(self.faults) >= MOST_FAULTS else ""
            failure.args = (f"{failure} ({'rows' if len(rows) > 1 else 'row'} {named}{more})",)
        return failure

    def _change(self, engine: Engine, key: Any, text: str) -> dict[str, Any] | None:
        if key in self.faults or len(self.faults) >= MOST_FAULTS:
            return None
        try:
            if self.type.cipher.is_current(text):
                return None
            value = self.type.process_result_value(text, engine.dialect)
            return {"k": key, "old": text, "new": self.type.process_bind_param(value, engine.dialect)}
        except DecryptionError as error:
            self.faults[key] = error.copy()
        return None

    def _write(self, connection: Connection, changes: list[dict[str, Any]]) -> None:
        # A database without row locks, such as SQLite, may have got another text since.
        unchanged = (self._key == sa.bindparam("k"), self._text == sa.bindparam("old"))
        connection.execute(sa.update(self._table).where(*unchanged).values({self._text: sa.bindparam("new")}), changes)


def key_usage(
    engine: Engine, metadata: MetaData, path: str, *, manager: SecretsManager | None = None
) -> dict[str, int]:
    """Return how many texts each key of a keyset has encrypted, in all columns of the metadata that use it.

    Texts of no key of the keyset, such as plain text, count under the id "".

    Raises:
        ConfigurationError: no column uses the keyset.
        StrongroomError: the keyset cannot be read.
    """
    key_ids = sorted(load(path, manager=manager, fresh=True).keys)
    columns = [column for table in metadata.tables.values() for column in table.columns if _uses(column, path)]
    if not columns:
        raise ConfigurationError(f"No column of the metadata uses the keyset {path}")
    found = dict.fromkeys([*key_ids, UNKNOWN], 0)
    with engine.connect() as connection:
        for column in columns:
            text = _raw(column.table).c[column.name]
            has_key = [text.startswith(prefix_of(key_id), autoescape=True) for key_id in key_ids]
            counts = [sa.func.count(text), *(sa.func.count(sa.case((matches, 1))) for matches in has_key)]
            total, *each = connection.execute(sa.select(*counts)).one()
            for key_id, count in zip(found, [*each, total - sum(each)], strict=True):
                found[key_id] += count
    return found


def drop_key(
    engine: Engine,
    metadata: MetaData,
    path: str,
    *key_ids: str,
    longest_cache: float | None = None,
    store: str | None = None,
    manager: SecretsManager | None = None,
) -> None:
    """Remove keys from a keyset that encrypt nothing any more. Backups that need them cannot be read afterwards.

    The metadata must have all columns that use the keyset. Texts that this database does not hold, such as those of
    another service, are not counted.

    Args:
        engine: of a synchronous driver.
        metadata: such as `Base.metadata`.
        path: the path of the keyset.
        key_ids: such as `48291`.
        longest_cache: the largest sum of `cache.ttl` and `cache.max_stale` among all processes that encrypt under the
            keyset, in seconds. This process cannot know it. None is the sum of the defaults, 65 minutes, or the sum of
            this process if that is larger: pass it if an application has a longer one.
        store: the store that is written; None is the first of the chain that can be.
        manager: None is the default manager of the process.

    Raises:
        ConflictError: a text needs one of the keys, or an unknown one; a key encrypts; a rotation is under way; or the
            keyset changed so recently that a process may still encrypt under an older one: `longest_cache` and ten
            seconds ago. Nothing was changed.
        SecretNotFoundError: the keyset has no such key.
        UnsupportedOperationError: the store has no check-and-set.
        ValueError: `longest_cache` is negative or not a number.
    """
    manager = manager or default_manager()
    longest_cache = _longest_cache(longest_cache, manager)
    ledger = Ledger(parts_of(manager).chain, path, store)
    state, _ = ledger.load()
    if state is not None and state.unfinished:
        raise ConflictError(path, "a rotation is under way", store=ledger.store, hint="Finish it first")
    moments = [moment for moment in (ledger.secret().created, state and state.changed) if moment]
    changed = max(moments, default=datetime.fromtimestamp(0, UTC))
    settled = changed + timedelta(seconds=longest_cache + RECHECK)

    def without(data: Mapping[str, Value]) -> dict[str, Value]:
        keyset = Keyset.parse(data, path)
        for key_id in key_ids:
            if key_id not in keyset.keys:
                raise SecretNotFoundError(path, f"the keyset has no key {key_id!r}")
            if key_id in {keyset.primary, keyset.previous}:
                hint = "Rotate the keyset, and rewrap the columns"
                raise ConflictError(path, f"the key {key_id} encrypts", hint=hint)
        is_settled = settled <= now_utc()  # before the texts are counted: afterwards another one may have been written
        usage = key_usage(engine, metadata, path, manager=manager)
        for key_id in (*key_ids, UNKNOWN):
            if usage.get(key_id):
                reason = f"{usage[key_id]} texts use {f'the key {key_id}' if key_id else 'no key of the keyset'}"
                raise ConflictError(path, reason, hint="Rewrap the columns first")
        if not is_settled:
            reason = "a process may still encrypt under the keyset from before its last change"
            moment = settled.isoformat(timespec="seconds")
            hint = f"Wait until {moment}, or pass longest_cache= if every application has a shorter one"
            raise ConflictError(path, reason, hint=hint)
        return {key: value for key, value in data.items() if key not in key_ids}

    ledger.change(without)


def _longest_cache(given: float | None, manager: SecretsManager) -> float:
    if given is None:
        return max(cache.ttl + cache.max_stale for cache in (manager.config.cache, CacheConfig()))
    if not given >= 0:
        raise ValueError(f"longest_cache is {given}: pass a number of seconds from 0")
    return given


def _raw(table: Table) -> TableClause:
    """Return the table with the texts of its encrypted columns, and without defaults of the application."""
    columns = (sa.column(each.name, Text() if isinstance(each.type, EncryptedType) else each.type) for each in table.c)
    return sa.table(table.name, *columns, schema=table.schema)


def _uses(column: Column[Any], path: str) -> bool:
    return isinstance(column.type, EncryptedType) and column.type.path == path
