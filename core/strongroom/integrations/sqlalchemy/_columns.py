"""Types of encrypted columns. The database holds texts: see `strongroom.encryption`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, TypeVar

from sqlalchemy import Column, ColumnElement, Null, Table, Text, event
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine

from strongroom._manager import SecretsManager
from strongroom.encryption import FieldCipher
from strongroom.errors import ConfigurationError, StrongroomError, UnsupportedOperationError

_T = TypeVar("_T")

_COMPARISONS = {operators.eq, operators.ne, operators.is_, operators.is_not}
_MYSQL = {"mysql", "mariadb"}


class _Comparator(TypeDecorator.Comparator[Any], Text.Comparator[Any]):
    """Refuses a filter by a value: it would match no row."""

    def operate(self, op: Any, *other: Any, **options: Any) -> ColumnElement[Any]:
        # SQLAlchemy compares columns that are keys of a dict.
        if op in _COMPARISONS and all(map(_is_column_or_null, other)):
            return super().operate(op, *other, **options)
        raise self._refusal()

    def reverse_operate(self, op: Any, other: Any, **options: Any) -> ColumnElement[Any]:  # noqa: ARG002
        raise self._refusal()

    def _refusal(self) -> UnsupportedOperationError:
        found = self.expr.type
        assert isinstance(found, EncryptedType)  # noqa: S101  # no other type has this class
        hint = "Filter by a second column, which holds an HMAC of the value under a key that does not rotate"
        reason = f"no filter or order works on {found.cipher.columns[0]}, since each text of a value differs"
        return UnsupportedOperationError(found.path, reason, hint=hint)


def _is_column_or_null(other: Any) -> bool:
    element = other.__clause_element__() if hasattr(other, "__clause_element__") else other
    return element is None or isinstance(element, Null | Column)


class EncryptedType(TypeDecorator[_T]):
    """The common part of the three types.

    Args:
        path: the path of the keyset.
        context: `TABLE.COLUMN`, which is the default; after a rename of the table or the column the new name and the
            old one, until the column is rewrapped. Texts of another context are refused.
        legacy: returns the value for a text that is not encrypted, or that another library has encrypted: `str` accepts
            plain text. Without it such a text raises `PlainTextError`.
        manager: None is the default manager of the process, looked up at each use.

    Each column needs a separate object. NULL stays NULL. A value that is passed for the column is encrypted. One within
    an SQL expression, such as `literal` or `case`, is stored as plain text. SQLAlchemy logs texts, and at DEBUG
    (`echo="debug"`) the decrypted rows.
    """

    impl = Text
    cache_ok = True
    comparator_factory = _Comparator  # pyright: ignore[reportAssignmentType]  # as SQLAlchemy documents it
    _encrypt: ClassVar[Callable[..., str]]
    _decrypt: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        path: str,
        context: str | tuple[str, ...] | None = None,
        legacy: Callable[[str], Any] | None = None,
        manager: SecretsManager | None = None,
    ) -> None:
        super().__init__()
        # These four tell two columns apart in SQLAlchemy's cache of statements, which keeps the ciphers of values too.
        # It takes them from the names of the arguments, and would leave out one that is keyword-only.
        self.path = path
        self.context = (context,) if isinstance(context, str) else context
        self.legacy = legacy
        self.manager = manager
        self._given = self.context
        self._column: str | None = None
        self._cipher: FieldCipher | None = None

    @property
    def cipher(self) -> FieldCipher:
        """The cipher of the column."""
        if self._cipher is None:
            if self.context is None:
                kind = type(self).__name__
                raise ConfigurationError(f"{kind} belongs to no column of a table: pass context='TABLE.COLUMN'")
            self._cipher = FieldCipher(self.path, self.context, legacy=self.legacy, manager=self.manager)
        return self._cipher

    def join(self, column: Column[Any]) -> None:
        """Take the context from the column.

        Raises:
            ConfigurationError: another column has this object.
        """
        name = f"{column.table.name}.{column.name}"
        if self._column not in {None, name}:
            kind = type(self).__name__
            raise ConfigurationError(f"{self._column} and {name} share one {kind}: give each column a separate object")
        self._column = name
        self.context = self._given or (name,)
        self._cipher = None

    def copy(self, **options: Any) -> EncryptedType[_T]:
        """Return a type that another column may join, such as a mixin's; or the one that a dialect works with."""
        copied = super().copy(**options)
        copied._column = None  # noqa: SLF001  # of this class
        return copied

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return TEXT, or LONGTEXT in MySQL, whose TEXT ends at 64 KiB."""
        return LONGTEXT() if dialect.name in _MYSQL else self.impl_instance

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the text of a value."""
        del dialect
        return None if value is None else self._passed(self._encrypt, value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the value of a text."""
        del dialect
        return None if value is None else self._passed(self._decrypt, value)

    def _passed(self, call: Callable[[FieldCipher, Any], Any], value: Any) -> Any:
        """Return the result of a call, whose errors SQLAlchemy passes on. It adds the parameters to any other error."""
        try:
            return call(self.cipher, value)
        except StrongroomError as error:
            failure = error.copy()
        del value
        kind: Any = type(failure)
        failure.__class__ = _passed_on(kind)
        raise failure


class EncryptedString(EncryptedType[str]):
    """A column of encrypted text, of any length."""

    cache_ok = True
    _encrypt = staticmethod(FieldCipher.encrypt)
    _decrypt = staticmethod(FieldCipher.decrypt)


class EncryptedBytes(EncryptedType[bytes]):
    """A column of encrypted bytes."""

    cache_ok = True
    _encrypt = staticmethod(FieldCipher.encrypt_bytes)
    _decrypt = staticmethod(FieldCipher.decrypt_bytes)

    @property
    def python_type(self) -> type[Any]:
        return bytes


class EncryptedJSON(EncryptedType[Any]):
    """A column of encrypted JSON. None is NULL. `MutableDict.as_mutable` works with it."""

    cache_ok = True
    _encrypt = staticmethod(FieldCipher.encrypt_json)
    _decrypt = staticmethod(FieldCipher.decrypt_json)

    @property
    def python_type(self) -> type[Any]:
        return dict


@event.listens_for(Column, "after_parent_attach")
def _join(column: Column[Any], table: object) -> None:
    # A column of a subquery or an alias shares the type, and is attached to no table.
    if isinstance(column.type, EncryptedType) and isinstance(table, Table):
        column.type.join(column)


@cache
def _passed_on(kind: type[StrongroomError]) -> Any:
    """Return a class of errors that SQLAlchemy passes on, and that a pickle holds as their own."""

    def reduce(error: StrongroomError) -> tuple[Any, ...]:
        return kind, error.args, error.__dict__

    return type(kind.__name__, (kind, DontWrapMixin), {"__module__": kind.__module__, "__reduce__": reduce})


def render_item(kind: str, item: Any, context: Any) -> str | bool:
    """Render encrypted columns as text in Alembic's migrations: pass it to `context.configure` in `env.py`.

    A migration then imports nothing of the application, and a later change of a type's arguments does not change it.
    """
    if kind != "type" or not isinstance(item, EncryptedType):
        return False
    if context.dialect.name in _MYSQL:
        context.imports.add("from sqlalchemy.dialects import mysql")
        return "mysql.LONGTEXT()"
    return "sa.Text()"
