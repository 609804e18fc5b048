"""Encrypted columns of SQLAlchemy, on SQLite."""

import logging
import pickle

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Column,
    Date,
    Integer,
    MetaData,
    Table,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column
from sqlalchemy.schema import CreateTable

from strongroom.errors import (
    AlteredTextError,
    ConfigurationError,
    InvalidDataError,
    PlainTextError,
    StoreUnavailableError,
    StrongroomError,
    UnsupportedOperationError,
)
from strongroom.integrations.sqlalchemy import EncryptedBytes, EncryptedJSON, EncryptedString, render_item
from strongroom.testing import SimulatedFailure, override

PATH = "columns/customer"
KEYS = {"primary": "48291", "48291": "k" * 43, "61332": "o" * 43}
CANARY = "DE89-canary-4711"


class Base(DeclarativeBase):
    pass


class Noted:
    note: Mapped[str | None] = mapped_column(EncryptedString(PATH))


class Customer(Noted, Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    iban: Mapped[str | None] = mapped_column(EncryptedString(PATH))
    profile: Mapped[dict | None] = mapped_column(MutableDict.as_mutable(EncryptedJSON(PATH)))
    scan: Mapped[bytes | None] = mapped_column(EncryptedBytes(PATH))


class Order(Noted, Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(autouse=True)
def keyset():
    with override({PATH: KEYS}) as manager:
        yield manager


@pytest.fixture
def engine():
    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


def stored(engine, column="iban"):
    """Return the texts of a column as the database holds them."""
    with engine.connect() as connection:
        return connection.scalars(text(f"SELECT {column} FROM customer ORDER BY id")).all()


def test_values_are_read_back_and_the_database_has_texts(engine, session):
    session.add(Customer(id=1, iban=CANARY, note="ü", profile={"a": [1]}, scan=b"\xff"))
    session.add(Customer(id=2, iban="", note=None))
    session.commit()
    first, second = session.get(Customer, 1), session.get(Customer, 2)
    assert (first.iban, first.note, first.profile, first.scan) == (CANARY, "ü", {"a": [1]}, b"\xff")
    assert (second.iban, second.note, second.profile, second.scan) == ("", None, None, None)
    assert all(value.startswith("sr1.48291.") for value in stored(engine))
    assert stored(engine, "note")[1] is None
    first.profile["b"] = 2
    first.iban = "FR"
    session.commit()
    assert session.execute(select(Customer.profile, Customer.iban).where(Customer.id == 1)).one() == (
        {"a": [1], "b": 2},
        "FR",
    )


def test_many_rows_at_once(engine, session):
    session.execute(insert(Customer), [{"id": number, "iban": str(number)} for number in range(1000)])
    session.execute(update(Customer), [{"id": number, "note": f"n{number}"} for number in range(1000)])
    session.commit()
    assert session.execute(select(Customer.iban, Customer.note).order_by(Customer.id)).all() == [
        (str(number), f"n{number}") for number in range(1000)
    ]


def test_aliases_subqueries_and_unions_decrypt(session):
    session.add(Customer(id=1, iban="a", note="b"))
    session.commit()
    other = aliased(Customer)
    assert session.execute(select(other.iban)).scalar() == "a"
    inner = select(Customer.id, Customer.iban.label("it")).subquery()
    assert session.execute(select(inner.c.it)).scalar() == "a"
    assert session.execute(select(Customer.iban).union_all(select(Customer.iban))).all() == [("a",), ("a",)]
    assert session.execute(select(func.max(Customer.id), Customer.iban).group_by(Customer.id)).all() == [(1, "a")]
    assert session.execute(delete(Customer).returning(Customer.note)).scalar() == "b"


def test_a_mixin_gives_each_table_a_context_of_its_own(engine, session):
    """A text of another column is refused, and so is one of another table."""
    assert Customer.__table__.c.note.type.context == ("customer.note",)
    assert Order.__table__.c.note.type.context == ("order.note",)
    session.add(Customer(id=1, iban="a", note="b"))
    session.commit()
    session.execute(text("UPDATE customer SET iban = note"))
    with pytest.raises(AlteredTextError, match=r"customer\.iban"):
        session.execute(select(Customer.iban)).all()


def test_planted_plain_text_is_refused_without_legacy(session):
    session.execute(text(f"INSERT INTO customer (id, iban) VALUES (1, '{CANARY}')"))
    with pytest.raises(PlainTextError) as caught:
        session.execute(select(Customer.iban)).all()
    assert CANARY not in str(caught.value)


def test_statements_of_two_columns_are_never_confused(session):
    """SQLAlchemy's cache of statements keeps the processors of the values too."""
    kinds = [EncryptedString(PATH, context=name) for name in ("a.x", "b.x")]
    texts = [session.execute(select(cast(literal("v", kind), sqlalchemy.Text))).scalar() for kind in kinds]
    for kind, found in zip(kinds, texts, strict=True):
        assert kind.cipher.decrypt(found) == "v"


def test_a_type_without_a_column_needs_a_context(session):
    with pytest.raises(ConfigurationError, match=r"pass context='TABLE\.COLUMN'"):
        session.execute(select(literal("v", EncryptedString(PATH))))


def test_one_object_for_two_columns_is_refused():
    """Their texts could be swapped."""
    kind = EncryptedString(PATH)
    with pytest.raises(ConfigurationError, match=r"t\.a and t\.b share one EncryptedString"):
        Table("t", MetaData(), Column("a", kind), Column("b", kind))


def test_copies_of_a_table_work(session):
    copied = Customer.__table__.to_metadata(MetaData(), name="archive")
    assert copied.c.iban.type.context == ("archive.iban",)
    found = pickle.loads(pickle.dumps(Order.__table__))
    assert found.c.note.type.context == ("order.note",)
    session.add(Order(id=1, note="x"))
    session.commit()
    assert session.execute(select(found.c.note)).scalar() == "x"


@pytest.mark.parametrize(
    "refused",
    [
        lambda column: column == "x",
        lambda column: column != "x",
        lambda column: column.in_(["x"]),
        lambda column: column.like("x%"),
        lambda column: column < "x",
        lambda column: "x" + column,
        lambda column: column.desc(),
        lambda column: column.is_("x"),
        lambda column: column == literal("x"),
    ],
)
@pytest.mark.parametrize("column", [Customer.iban, Customer.__table__.c.iban, aliased(Customer).iban])
def test_a_filter_is_refused_with_the_reason_and_what_to_do(refused, column):
    with pytest.raises(UnsupportedOperationError, match=r"works on customer\.iban, since .*HMAC") as caught:
        refused(column)
    assert "'x'" not in str(caught.value)


def test_a_filter_by_null_works(session):
    session.add_all([Customer(id=1, iban="a"), Customer(id=2)])
    session.commit()
    for condition in (Customer.iban.is_(None), Customer.iban == None, Customer.iban == null()):  # noqa: E711
        assert session.scalars(select(Customer.id).where(condition)).all() == [2]
    assert session.scalars(select(Customer.id).where(Customer.iban.is_not(None))).all() == [1]


@pytest.mark.parametrize(
    ("values", "shown"), [({"iban": 4711}, "int"), ({"iban": CANARY.encode()}, "bytes"), ({"scan": CANARY}, "str")]
)
def test_a_value_of_another_type_is_refused_without_the_statement(session, values, shown):
    """SQLAlchemy would add the parameters of the statement, which are plain values."""
    with pytest.raises(InvalidDataError, match=f"and not this {shown}") as caught:
        session.execute(insert(Customer).values(id=1, note=CANARY, **values))
    assert CANARY not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (InvalidDataError, str(caught.value))


def test_an_outage_reaches_the_application_as_it_is(engine):
    with override({PATH: SimulatedFailure.UNAVAILABLE}), Session(engine) as session:
        with pytest.raises(StoreUnavailableError) as caught:
            session.execute(insert(Customer).values(id=1, iban=CANARY))
        assert isinstance(caught.value, StrongroomError)
        assert CANARY not in str(caught.value)


def test_what_sqlalchemy_logs_and_raises_has_no_value(engine, caplog):
    echoed = sqlalchemy.create_engine("sqlite://", echo=True)
    logging.getLogger("sqlalchemy.engine").addHandler(caplog.handler)
    Base.metadata.create_all(echoed)
    with Session(echoed) as session:
        session.execute(insert(Customer).values(id=1, iban=CANARY))
        with pytest.raises(sqlalchemy.exc.IntegrityError) as caught:
            session.execute(insert(Customer).values(id=1, iban=CANARY))
    logging.getLogger("sqlalchemy.engine").removeHandler(caplog.handler)
    echoed.dispose()
    assert "sr1.48291." in caplog.text
    assert CANARY not in caplog.text
    assert "sr1.48291." in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value.params}"


def test_a_fault_of_another_column_shows_values_unless_they_are_hidden():
    """The limit that the page names: SQLAlchemy raises before the values are encrypted."""
    table = Table("t", MetaData(), Column("a", EncryptedString(PATH)), Column("born", Date))
    for hidden in (True, False):
        engine = sqlalchemy.create_engine("sqlite://", hide_parameters=hidden)
        table.create(engine)
        with engine.connect() as connection, pytest.raises(StatementError) as caught:
            connection.execute(insert(table), {"a": CANARY, "born": "no date"})
        assert (CANARY in str(caught.value)) is not hidden
        engine.dispose()


def test_literals_in_a_statement_are_encrypted(engine):
    compiled = insert(Customer).values(id=1, iban=CANARY).compile(engine, compile_kwargs={"literal_binds": True})
    assert "sr1.48291." in str(compiled)
    assert CANARY not in str(compiled)


@pytest.mark.parametrize(
    ("dialect", "kind"), [(postgresql.dialect(), "TEXT"), (mysql.dialect(), "LONGTEXT")], ids=["postgresql", "mysql"]
)
def test_the_column_is_text(dialect, kind):
    ddl = str(CreateTable(Order.__table__).compile(dialect=dialect))
    assert f"note {kind}" in ddl


def test_legacy_reads_what_was_there_before(engine):
    table = Table("customer", MetaData(), Column("id", Integer), Column("iban", EncryptedString(PATH, legacy=str)))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO customer (id, iban) VALUES (1, 'plain')"))
        connection.execute(insert(table).values(id=2, iban="new"))
        assert connection.scalars(select(table.c.iban).order_by(table.c.id)).all() == ["plain", "new"]


def test_a_renamed_column_reads_both_contexts(engine, session):
    session.add(Customer(id=1, iban="before"))
    session.commit()
    contexts = ("customer.account", "customer.iban")
    session.execute(text("ALTER TABLE customer RENAME COLUMN iban TO account"))
    renamed = Table(
        "customer", MetaData(), Column("id", Integer), Column("account", EncryptedString(PATH, context=contexts))
    )
    session.execute(insert(renamed).values(id=2, account="after"))
    assert session.scalars(select(renamed.c.account).order_by(renamed.c.id)).all() == ["before", "after"]


def test_alembic_renders_text_and_finds_no_difference(engine):
    with engine.connect() as connection:
        options = {"compare_type": True, "render_item": render_item}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        metadata = MetaData()
        Table("new", metadata, Column("id", Integer), Column("a", EncryptedJSON(PATH)), Column("b", JSON))
        found = produce_migrations(context, metadata)
        code = render_python_code(found.upgrade_ops, render_item=render_item)
    assert "sa.Column('a', sa.Text(), nullable=True)" in code
    assert "strongroom" not in code
