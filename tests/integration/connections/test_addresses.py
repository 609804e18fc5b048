"""The forms of an address on real servers, in each way to connect."""

import asyncio
import itertools
import secrets
from dataclasses import dataclass

import pymysql
import pytest
import redis
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler
from sqlalchemy.pool import NullPool

from strongroom import SecretsManager, set_default_manager
from strongroom.errors import ConfigurationError, InvalidDataError
from strongroom.integrations import asyncpg, psycopg_pool, sqlalchemy
from strongroom.integrations.django import database
from strongroom.integrations.redis import create_async_client, create_client
from strongroom.rotate.spi import CredentialPair
from strongroom.secret import protect_data
from strongroom.store.memory import MemoryStore
from strongroom_rotators.mysql import open_mysql
from strongroom_rotators.postgres import open_postgres
from strongroom_rotators.redis_acl import open_redis_acl
from support.representatives import some
from support.services.postgres import of_debian, running_postgres

PATH = "database/connection"
QUERY = "SELECT current_user || ' ' || current_database() || ' ' || current_setting('application_name')"


def with_psycopg(manager):
    connect = psycopg_pool.create_pool(PATH, manager=manager, open=False).connection_class.connect
    with connect() as connection:
        return connection.execute(QUERY).fetchone()[0]


def with_asyncpg(manager):
    async def run():
        async with asyncpg.create_pool(PATH, manager=manager, min_size=0) as pool:
            return await pool.fetchval(QUERY)

    return asyncio.run(run())


def with_sqlalchemy(manager):
    engine = sqlalchemy.create_engine(PATH, manager=manager, drivername="postgresql+psycopg", poolclass=NullPool)
    with engine.connect() as connection:
        return connection.exec_driver_sql(QUERY).scalar_one()


def with_sqlalchemy_and_asyncpg(manager):
    async def run():
        engine = sqlalchemy.create_async_engine(
            PATH, manager=manager, drivername="postgresql+asyncpg", poolclass=NullPool
        )
        async with engine.connect() as connection:
            return (await connection.exec_driver_sql(QUERY)).scalar_one()

    return asyncio.run(run())


def with_django(manager, **settings):
    before = set_default_manager(manager)
    connection = ConnectionHandler({"default": database(PATH, **settings)})["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute(QUERY if connection.vendor == "postgresql" else "SELECT CONCAT(user(), ' ', database())")
            return cursor.fetchone()[0]
    finally:
        connection.close()
        set_default_manager(before)


WAYS = [with_psycopg, with_asyncpg, with_sqlalchemy, with_sqlalchemy_and_asyncpg, with_django]
each_way = pytest.mark.parametrize("connect", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def chain():
    """A function that returns a manager of one secret."""
    opened = []

    def open_(data):
        store = MemoryStore()
        store.write(PATH, data)
        opened.append(SecretsManager(chain=[store]))
        return opened[-1]

    yield open_
    for manager in opened:
        manager.close()


@dataclass
class Account:
    """A user of PostgreSQL whose password needs quoting."""

    user: str
    quoted: str
    password: str
    port: int
    socket: str


@pytest.fixture(scope="module")
def account(postgres):
    user = f"app_{secrets.token_hex(4)}"
    postgres.run(f"CREATE ROLE {user} LOGIN PASSWORD 'a/b@c:d%'")
    socket = str(postgres.socket)
    return Account(user, f"{user}:a%2Fb%40c%3Ad%25", "a/b@c:d%", postgres.port, socket.replace("/", "%2F"))


FORMS = {
    "authority": "postgres://{0.quoted}@127.0.0.1:{0.port}/postgres?application_name=x",
    "query": "postgresql:///?host=127.0.0.1&port={0.port}&dbname=postgres&user={0.user}&password=a/b%40c:d%25"
    "&application_name=x",
    "the query wins": "postgresql://a:b@db.invalid:1/n?host=127.0.0.1&port={0.port}&dbname=postgres&user={0.user}"
    "&password=a/b%40c:d%25&application_name=x",
    "several hosts": "postgresql://{0.quoted}@127.0.0.2:1,127.0.0.1:{0.port}/postgres?application_name=x",
    "socket": "postgresql://{0.quoted}@/postgres?host={0.socket}&port={0.port}&application_name=x",
    "socket as the host": "postgresql://{0.quoted}@{0.socket}:{0.port}/postgres?application_name=x",
    "options": "postgresql://{0.quoted}@127.0.0.1:{0.port}/postgres?options=-c%20application_name%3Dx&sslmode=disable",
}


@pytest.mark.parametrize(
    ("connect", "form"),
    some(itertools.product(WAYS, FORMS), lambda pair: pair[0] is with_psycopg or pair[1] == "query"),
)
def test_each_driver_reaches_what_the_url_names(chain, account, connect, form):
    """User, database and options are the URL's."""
    assert connect(chain({"url": FORMS[form].format(account)})) == f"{account.user} postgres x"


@each_way
def test_one_port_counts_for_several_hosts(chain, account, connect):
    """Nobody listens at the first one. The password in the secret's own key is beside the URL."""
    data = {"host": "127.0.0.2,127.0.0.1", "port": account.port, "user": account.user, "password": account.password}
    assert connect(chain({**data, "name": "postgres"})).startswith(f"{account.user} postgres")


@each_way
@pytest.mark.parametrize("place", ["url", "key", "beside a URL"])
def test_tls_that_is_required_is_not_left_out(chain, account, connect, place):
    """The server has none."""
    where = f"postgresql://{account.quoted}@127.0.0.1:{account.port}/postgres"
    parts = {"host": "127.0.0.1", "port": account.port, "user": account.user, "password": account.password}
    data = {
        "url": {"url": f"{where}?sslmode=require"},
        "key": {**parts, "name": "postgres", "sslmode": "require"},
        "beside a URL": {"url": where, "sslmode": "require"},
    }[place]
    with pytest.raises(Exception, match=r"(?i)SSL"):  # each driver has its own
        connect(chain(data))


@each_way
def test_an_option_that_is_unknown_is_refused(chain, account, connect):
    """By the driver or by the server, and never left out."""
    url = f"postgresql://{account.quoted}@127.0.0.1:{account.port}/postgres?currentSchema=x"
    with pytest.raises(Exception, match=r"(?i)currentSchema"):
        connect(chain({"url": url}))


def test_a_user_that_is_set_replaces_that_of_the_query(chain, account):
    """The password stays in the query too."""
    query = f"host=127.0.0.1&port={account.port}&user=other&password=other"
    manager = chain({"url": f"postgresql:///postgres?{query}"})
    manager.set_secret(PATH, {"user": account.user, "password": account.password})
    for connect in WAYS:
        assert connect(manager).startswith(account.user)


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    """A PostgreSQL with a certificate for 127.0.0.1, and the file of its authority. The wheel's server has no TLS."""
    programs = of_debian()
    if programs is None:
        pytest.skip("PostgreSQL of Debian is not installed")
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    with running_postgres(programs) as server:
        server.serve_tls(authority.issue_cert("127.0.0.1"))
        yield server, file


@pytest.mark.parametrize("connect", some(WAYS, {with_psycopg, with_asyncpg}.__contains__))
def test_verified_tls_is_verified(chain, tls_server, tmp_path, connect):
    """An authority that did not sign the server's certificate is refused."""
    server, file = tls_server
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    url = f"postgresql://postgres:{server.password}@127.0.0.1:{server.port}/postgres?sslmode=verify-full&sslrootcert="
    assert connect(chain({"url": f"{url}{file}"})).startswith("postgres")
    with pytest.raises(Exception, match=r"(?i)certificate verify failed"):
        connect(chain({"url": f"{url}{other}"}))


@pytest.mark.parametrize("name", ["other.pem", "missing.pem"])
def test_a_rotator_of_postgresql_tells_that_it_cannot_verify_the_server(tls_server, tmp_path, name):
    """The server answers, so that this is a wrong configuration, and no outage."""
    server, _ = tls_server
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    where = f"127.0.0.1:{server.port}/postgres?sslmode=verify-full&sslrootcert={tmp_path}/{name}"
    with pytest.raises(ConfigurationError, match="certificate cannot be verified"):
        rotate(open_postgres(), {"url": f"postgresql://postgres:{server.password}@{where}"})


# --- Django -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite:///x", "mysql://u:p@127.0.0.1/n"])
def test_django_refuses_the_url_of_another_database(chain, url):
    with pytest.raises(InvalidDataError, match="key 'url' is not a URL of PostgreSQL"):
        with_django(chain({"url": url}))


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_the_pool_of_django_is_refused_at_once(chain, engine):
    pymysql.install_as_MySQLdb()
    with pytest.raises(ImproperlyConfigured, match=r"pool.*is not supported.*CONN_MAX_AGE"):
        with_django(chain({"url": "postgresql://u:p@127.0.0.1:1/n"}), engine=engine, OPTIONS={"pool": True})


# --- MariaDB ----------------------------------------------------------------------------------------------------------

MYSQL_FORMS = {
    "authority": {"url": "mysql://{user}:secret@127.0.0.1:{port}/information_schema?charset=utf8mb4&connect_timeout=5"},
    "socket": {"url": "mysql://{user}:secret@localhost/information_schema?unix_socket={socket}"},
    "socket as the host": {"host": "{socket}", "user": "{user}", "password": "secret", "name": "information_schema"},
}


@pytest.fixture
def mysql_secret(mariadb):
    """A function that returns a secret in this form, and the name of its user."""
    user = f"app_{secrets.token_hex(4)}"
    mariadb.run(f"CREATE USER {user} IDENTIFIED BY 'secret'")
    return lambda form: (
        user,
        {key: text.format(user=user, **vars(mariadb)) for key, text in MYSQL_FORMS[form].items()},
    )


@pytest.mark.long
@pytest.mark.parametrize("form", MYSQL_FORMS)
def test_mysql_is_reached_by_its_port_and_its_socket(chain, mysql_secret, form):
    """From SQLAlchemy, from Django, and from the rotator."""
    pymysql.install_as_MySQLdb()
    user, data = mysql_secret(form)
    manager = chain(data)
    engine = sqlalchemy.create_engine(PATH, manager=manager, drivername="mysql+pymysql", poolclass=NullPool)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT user()").scalar_one().startswith(user)
    assert with_django(manager, engine="mysql").startswith(user)
    rotate(open_mysql(), data)


def rotate(rotator, data):
    """Rotate the user of a secret."""
    old = protect_data(data)
    pair = CredentialPair(PATH, old, protect_data({**old, **rotator.create(old)}))
    rotator.apply(pair)
    rotator.prove(pair)


@pytest.mark.parametrize("form", FORMS)
def test_a_rotator_of_postgresql_reaches_what_the_url_names(postgres, account, form):
    """With its own user, whose password is then the old one again."""
    try:
        rotate(open_postgres(), {"url": FORMS[form].format(account)})
    finally:
        postgres.run(f"ALTER ROLE {account.user} PASSWORD '{account.password}'")


# --- Redis ------------------------------------------------------------------------------------------------------------


def test_redis_needs_no_password(chain, redis_server):
    """Its options are the URL's."""
    manager = chain({"url": f"redis://localhost:{redis_server.port}/3?socket_timeout=7.5&client_name=shop"})
    with create_client(PATH, manager=manager, decode_responses=True) as client:
        assert client.client_getname() == "shop"
        assert client.client_info()["db"] == 3
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 7.5

    async def ping():
        async with create_async_client(PATH, manager=manager) as client:
            return await client.client_getname()

    assert asyncio.run(ping()) in {"shop", b"shop"}
    with create_client(PATH, manager=chain({"host": "127.0.0.1", "port": redis_server.port})) as client:
        assert client.ping()


def test_options_of_tls_reach_redis_py(chain):
    """An option that redis-py does not know is refused."""
    with create_client(PATH, manager=chain({"url": "rediss://:p@cache.test?ssl_ca_certs=/ca.pem"})) as client:
        assert client.connection_pool.connection_class is redis.SSLConnection
        assert client.connection_pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    with pytest.raises(TypeError, match="foo"):
        create_client(PATH, manager=chain({"url": "redis://:p@cache.test?foo=1"}))


def test_a_rotator_of_redis_reaches_what_the_url_names(redis_server):
    user = f"app_{secrets.token_hex(4)}"
    redis_server.client().execute_command("ACL", "SETUSER", user, "on", ">secret", "~*", "+@all")
    where = f"host=localhost&port={redis_server.port}&socket_timeout=5&db=1"
    rotate(open_redis_acl(), {"url": f"redis://cache.invalid/?username={user}&password=secret&{where}"})
