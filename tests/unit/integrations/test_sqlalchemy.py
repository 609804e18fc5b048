"""The address of an engine of SQLAlchemy. No server: nothing is connected."""

import pytest

from strongroom import SecretsManager
from strongroom.errors import InvalidDataError
from strongroom.integrations.sqlalchemy import create_engine
from strongroom.store.memory import MemoryStore

PATH = "database/connection"


def engine(drivername, **data):
    """Return an engine for this secret."""
    store = MemoryStore()
    store.write(PATH, data)
    with SecretsManager(chain=[store]) as manager:
        return create_engine(PATH, manager=manager, drivername=drivername)


@pytest.mark.parametrize(
    ("drivername", "url"),
    [
        ("postgresql+psycopg", "mysql://u:p@db/n"),
        ("postgresql+psycopg", "https://u:p@db/n"),
        ("postgresql+psycopg", "sqlite:///n"),
        ("mysql+pymysql", "postgresql://u:p@db/n"),
        ("sqlite", "postgresql://u:p@db/n"),
    ],
)
def test_a_driver_does_not_get_the_url_of_another_kind_of_database(drivername, url):
    """It would send the password to a server of another protocol."""
    with pytest.raises(InvalidDataError, match="key 'url' is not a URL of"):
        engine(drivername, url=url)


@pytest.mark.parametrize(
    ("drivername", "url"),
    [("postgresql+psycopg", "postgres://u:p@db/n"), ("mysql+pymysql", "mariadb://u:p@db/n"), ("sqlite", "sqlite://")],
)
def test_a_driver_gets_the_url_of_its_own_kind_of_database(drivername, url):
    assert engine(drivername, url=url).url.drivername == drivername


def test_several_hosts_are_no_socket_of_mysql():
    """As in a URL."""
    with pytest.raises(InvalidDataError, match="several hosts"):
        engine("mysql+pymysql", host="db1,db2", user="u", password="p", name="n")
