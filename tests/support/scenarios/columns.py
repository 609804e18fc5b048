"""A table with two encrypted columns, which processes read and write while its key rotates."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from strongroom.integrations.sqlalchemy import EncryptedString

KEYSET = "columns/customer"
FIRST_KEY = "a-first-key-that-has-at-least-32-characters"


class Base(DeclarativeBase):
    pass


class Customer(Base):
    """Each value begins with the number of its row."""

    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    iban: Mapped[str] = mapped_column(EncryptedString(KEYSET))
    note: Mapped[str] = mapped_column(EncryptedString(KEYSET))
