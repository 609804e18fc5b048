"""SQLAlchemy: engines whose connections survive a rotation of the credential, and columns that are encrypted.

::

    from strongroom.integrations.sqlalchemy import EncryptedString, create_engine

    engine = create_engine("database/connection", drivername="postgresql+psycopg")

    class Customer(Base):
        __tablename__ = "customer"
        id: Mapped[int] = mapped_column(primary_key=True)
        iban: Mapped[str | None] = mapped_column(EncryptedString("columns/customer"))
"""

from strongroom.integrations.sqlalchemy._columns import (
    EncryptedBytes,
    EncryptedJSON,
    EncryptedString,
    EncryptedType,
    render_item,
)
from strongroom.integrations.sqlalchemy._engines import create_async_engine, create_engine
from strongroom.integrations.sqlalchemy._keys import drop_key, key_usage, rewrap

__all__ = [
    "EncryptedBytes",
    "EncryptedJSON",
    "EncryptedString",
    "EncryptedType",
    "create_async_engine",
    "create_engine",
    "drop_key",
    "key_usage",
    "render_item",
    "rewrap",
]
