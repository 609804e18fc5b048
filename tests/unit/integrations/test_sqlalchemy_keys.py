"""Texts encrypted anew, counted by their keys, and keys dropped: on SQLite, with a keyset in memory."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy
from cryptography.fernet import Fernet
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from strongroom import SecretsManager, set_default_manager
from strongroom._chain.history import now_utc
from strongroom._manager.manager import parts_of
from strongroom.encryption import Keyset
from strongroom.errors import (
    AlteredTextError,
    ConfigurationError,
    ConflictError,
    SecretNotFoundError,
    UnsupportedOperationError,
)
from strongroom.integrations.sqlalchemy import EncryptedJSON, EncryptedString, _keys, drop_key, key_usage, rewrap
from strongroom.rotate.guard import GuardedRotator
from strongroom.rotate.ledger import Ledger
from strongroom.rotate.transaction import Transaction
from strongroom.store.memory import MemoryStore
from strongroom_rotators.encryption_key import open_encryption_key

PATH = "columns/customer"
FIRST = {"key": "a-single-key-of-at-least-32-characters"}
ROWS = 25


@pytest.fixture
def store():
    store = MemoryStore()
    store.write(PATH, FIRST)
    return store


@pytest.fixture(autouse=True)
def manager(store):
    with SecretsManager(chain=[store]) as manager:
        before = set_default_manager(manager)
        yield manager
        set_default_manager(before)


@pytest.fixture
def engine():
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    yield engine
    engine.dispose()


def table_of(kind, name="iban", **options):
    return Table(
        "customer",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column(name, kind, **options),
        Column("changed", Integer, onupdate=99),
    )


@pytest.fixture
def customer(engine):
    """A table with values, and a row without one."""
    table = table_of(EncryptedString(PATH))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), [{"id": number, "iban": f"v{number}"} for number in range(ROWS)])
        connection.execute(insert(table).values(id=100))
    return table


def transaction(manager, grace=0):
    rotator = GuardedRotator(open_encryption_key(), "encryption-key", PATH)
    ledger = Ledger(parts_of(manager).chain, PATH)
    return Transaction(ledger, rotator, grace=timedelta(seconds=grace), read=manager.get_secret)


@pytest.fixture
def rotate(manager):
    """A function that rotates the keyset, and returns the id of the new key."""

    def rotate_():
        transaction(manager).rotate()
        return Keyset.parse(manager.get_secret(PATH, fresh=True)).encrypting

    return rotate_


def values(engine, column):
    with engine.connect() as connection:
        return list(connection.scalars(select(column).where(column.is_not(None)).order_by(column.table.c.id)))


def test_every_text_gets_the_new_key(engine, customer, rotate):
    """In batches, and current texts are left alone."""
    new, progress = rotate(), []
    assert rewrap(engine, customer.c.iban, batch=10, progress=progress.append) == ROWS
    assert progress == [10, 20, 25]
    assert key_usage(engine, customer.metadata, PATH) == {new: ROWS, "key": 0, "": 0}
    assert values(engine, customer.c.iban) == [f"v{number}" for number in range(ROWS)]
    assert rewrap(engine, customer.c.iban) == 0


def test_defaults_of_the_application_do_not_run(engine, customer, rotate):
    rotate()
    rewrap(engine, customer.c.iban)
    with engine.connect() as connection:
        assert connection.scalar(select(func.count(customer.c.changed))) == 0


def test_an_update_in_between_is_not_overwritten(engine, customer, rotate, monkeypatch):
    """SQLite has no row locks: the text is compared."""
    rotate()
    original = _keys._Texts._write

    def late(texts, connection, changes):
        connection.execute(customer.update().where(customer.c.id == 3).values(iban="newer"))
        original(texts, connection, changes)

    monkeypatch.setattr(_keys._Texts, "_write", late)
    rewrap(engine, customer.c.iban)
    assert values(engine, customer.c.iban)[3] == "newer"


def test_a_renamed_column_needs_no_former_name_afterwards(engine, customer):
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE customer RENAME COLUMN iban TO account"))
    both = table_of(EncryptedString(PATH, context=("customer.account", "customer.iban")), "account")
    assert rewrap(engine, both.c.account, batch=10) == ROWS
    assert rewrap(engine, both.c.account) == 0
    assert values(engine, table_of(EncryptedString(PATH), "account").c.account)[0] == "v0"


@pytest.mark.parametrize("before", ["plain text", "Fernet"])
def test_values_from_before_are_encrypted(engine, before):
    fernet = Fernet(Fernet.generate_key())
    encode = str if before == "plain text" else lambda value: fernet.encrypt(value.encode()).decode()
    decode = str if before == "plain text" else lambda found: fernet.decrypt(found).decode()
    former, table = table_of(String()), table_of(EncryptedString(PATH, legacy=decode))
    former.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(former), [{"id": number, "iban": encode(f"v{number}")} for number in range(ROWS)])
    assert key_usage(engine, table.metadata, PATH) == {"key": 0, "": ROWS}
    assert rewrap(engine, table.c.iban) == ROWS
    assert values(engine, table_of(EncryptedString(PATH)).c.iban) == [f"v{number}" for number in range(ROWS)]


def test_json_is_rewrapped(engine, rotate):
    table = table_of(EncryptedJSON(PATH))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(id=1, iban={"a": "ü"}))
    rotate()
    assert rewrap(engine, table.c.iban) == 1
    assert values(engine, table.c.iban) == [{"a": "ü"}]


def test_a_text_that_cannot_be_decrypted_names_its_row(engine, customer, rotate):
    rotate()
    with engine.begin() as connection:
        connection.execute(text("UPDATE customer SET iban = 'sr1.key.AAAA' WHERE id = 7"))
    with pytest.raises(AlteredTextError, match=r"\(row 7\)"):
        rewrap(engine, customer.c.iban)


def test_texts_that_cannot_be_decrypted_stop_no_other(engine, customer, rotate):
    """All others have the new key, and the error names the rows to mend."""
    new = rotate()
    with engine.begin() as connection:
        connection.execute(text("UPDATE customer SET iban = 'sr1.key.AAAA' WHERE id IN (3, 7)"))
        connection.execute(text("UPDATE customer SET iban = 'sr1.99999.AAAA' WHERE id = 20"))
    with pytest.raises(AlteredTextError, match=r"\(rows 3, 7, 20\)$"):
        rewrap(engine, customer.c.iban, batch=10)
    assert key_usage(engine, customer.metadata, PATH) == {new: ROWS - 3, "key": 2, "": 1}


def test_a_column_of_texts_that_cannot_be_decrypted_ends_the_rewrap(engine, customer, rotate, monkeypatch):
    """Such as with the wrong `legacy=`: it does not read a whole large table for it."""
    monkeypatch.setattr(_keys, "MOST_FAULTS", 5)
    new = rotate()
    with engine.begin() as connection:
        connection.execute(text("UPDATE customer SET iban = 'sr1.key.AAAA' WHERE id < 20"))
    with pytest.raises(AlteredTextError, match=r"\(rows 0, 1, 2, 3, 4 and more\)$"):
        rewrap(engine, customer.c.iban, batch=10)
    assert key_usage(engine, customer.metadata, PATH)[new] == 0


def test_only_an_encrypted_column_with_a_single_key_is_rewrapped(engine):
    table = Table(
        "t",
        MetaData(),
        Column("a", Integer, primary_key=True),
        Column("b", Integer, primary_key=True),
        Column("c", EncryptedString(PATH)),
    )
    with pytest.raises(ConfigurationError, match="primary key of one column"):
        rewrap(engine, table.c.c)
    with pytest.raises(ConfigurationError, match="needs an encrypted column"):
        rewrap(engine, table.c.a)
    with pytest.raises(ConfigurationError, match="No column of the metadata uses"):
        key_usage(engine, MetaData(), PATH)


# --- keys that are dropped --------------------------------------------------------------------------------------------


@pytest.fixture
def later(monkeypatch):
    """Let the times of the cache pass for `drop_key`."""
    monkeypatch.setattr(_keys, "now_utc", lambda: now_utc() + timedelta(hours=2))


def test_a_key_that_no_text_needs_is_dropped(engine, customer, rotate, store, later):
    new = rotate()
    rewrap(engine, customer.c.iban)
    drop_key(engine, customer.metadata, PATH, "key")
    assert set(store.read(PATH).data) == {"primary", new}
    with pytest.raises(SecretNotFoundError, match="no key 'key'"):
        drop_key(engine, customer.metadata, PATH, "key")


def test_a_key_that_a_text_needs_is_kept(engine, customer, rotate, store, later):
    rotate()
    with pytest.raises(ConflictError, match="25 texts use the key key"):
        drop_key(engine, customer.metadata, PATH, "key")
    assert "key" in store.read(PATH).data


def test_no_key_is_dropped_while_a_text_has_none(engine, customer, rotate, later):
    rotate()
    rewrap(engine, customer.c.iban)
    with engine.begin() as connection:
        connection.execute(text("UPDATE customer SET iban = 'sr1.99999.AAAA' WHERE id = 7"))
    with pytest.raises(ConflictError, match="1 texts use no key of the keyset"):
        drop_key(engine, customer.metadata, PATH, "key")


def test_the_key_that_encrypts_is_kept(engine, customer, rotate, later):
    new = rotate()
    for key_id in (new, "key"):
        with pytest.raises(ConflictError, match="encrypts" if key_id == new else "texts use"):
            drop_key(engine, customer.metadata, PATH, key_id)


def test_no_key_is_dropped_during_a_rotation(engine, customer, manager, later):
    transaction(manager, grace=60).rotate()
    with pytest.raises(ConflictError, match="a rotation is under way"):
        drop_key(engine, customer.metadata, PATH, "key")


def test_no_key_is_dropped_while_a_process_may_still_encrypt_with_it(engine, customer, rotate):
    rotate()
    rewrap(engine, customer.c.iban)
    with pytest.raises(ConflictError, match=r"a process may still encrypt .* Wait until 20"):
        drop_key(engine, customer.metadata, PATH, "key")


def test_the_settings_of_the_process_that_drops_a_key_do_not_shorten_the_wait(engine, customer, rotate, store):
    """Another process encrypts as long as its own cache serves the older keyset."""
    rotate()
    rewrap(engine, customer.c.iban)
    hasty = SecretsManager(chain=[store], cache_ttl=0)
    with hasty, pytest.raises(ConflictError, match="may still encrypt") as caught:
        drop_key(engine, customer.metadata, PATH, "key", manager=hasty)
    end = datetime.fromisoformat(caught.value.hint.partition("Wait until ")[2].partition(",")[0])
    assert end - now_utc() > timedelta(minutes=64)


def test_the_caller_can_name_the_longest_cache_of_its_applications(engine, customer, rotate, monkeypatch):
    """Shorter than that of the library, or longer."""
    rotate()
    rewrap(engine, customer.c.iban)
    monkeypatch.setattr(_keys, "now_utc", lambda: now_utc() + timedelta(hours=2))
    with pytest.raises(ConflictError, match="Wait until"):
        drop_key(engine, customer.metadata, PATH, "key", longest_cache=3 * 3600)
    for wrong in (-100, float("nan")):
        with pytest.raises(ValueError, match="pass a number of seconds"):
            drop_key(engine, customer.metadata, PATH, "key", longest_cache=wrong)
    monkeypatch.setattr(_keys, "now_utc", lambda: now_utc() + timedelta(seconds=30))
    drop_key(engine, customer.metadata, PATH, "key", longest_cache=3)


def test_texts_that_use_the_key_are_told_before_the_wait(engine, customer, rotate):
    """Who waits first would wait for nothing."""
    rotate()
    with pytest.raises(ConflictError, match="25 texts use the key key"):
        drop_key(engine, customer.metadata, PATH, "key")


def test_an_asynchronous_engine_is_refused(customer, rotate):
    rotate()
    engine = create_async_engine("postgresql+asyncpg://")
    for call in (lambda: rewrap(engine, customer.c.iban), lambda: key_usage(engine, customer.metadata, PATH)):
        with pytest.raises(TypeError, match="context manager"):
            call()


def test_a_store_without_check_and_set_is_refused(engine, customer, monkeypatch):
    monkeypatch.setenv("COLUMNS_CUSTOMER_KEY", FIRST["key"])
    with SecretsManager(chain=["env"]) as manager, pytest.raises(UnsupportedOperationError):
        drop_key(engine, customer.metadata, PATH, "key", manager=manager)
