"""The one reader of database addresses: forms that drivers and frameworks take, and the arguments that it makes."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._credentials.database_address import DatabaseAddress, Host, read_address, url_with
from strongroom.errors import InvalidDataError
from strongroom.secret import SensitiveDict, SensitiveStr, protect_data

CANARY = "canary7f3a"
LONG = "postgres://user:word@ec2-107-21-253-135.compute-1.amazonaws.example:5431/d8r82722r2kuvn"


def shape(found):
    """Return hosts, user, password, name and options in plain text."""
    hosts = ",".join(f"{host.name}:{host.port}" if host.port else host.name for host in found.hosts)
    options = ",".join(f"{key}={value}" for key, value in found.options)
    return (hosts, *(part and part.reveal() for part in (found.user, found.password, found.name)), options)


URLS = {
    # the authority
    "postgresql://app:secret@host:12345/db": ("host:12345", "app", "secret", "db", ""),
    "postgresql://app@/": ("", "app", None, None, ""),
    "postgresql://:secret@host/db": ("host", None, "secret", "db", ""),
    "postgresql://app:@host/db": ("host", "app", None, "db", ""),
    "postgresql://@host": ("host", None, None, None, ""),
    "postgresql://host:/": ("host", None, None, None, ""),
    "postgresql://:12345/": (":12345", None, None, None, ""),
    "postgresql://": ("", None, None, None, ""),
    "postgresql:///db": ("", None, None, "db", ""),
    "postgresql://%68ost/": ("host", None, None, None, ""),
    "postgresql://us%40r:p%40ss@h%40st:543%33/d%62": ("h@st:5433", "us@r", "p@ss", "db", ""),
    "postgres://%23user:%23word@host:5431/%23database": ("host:5431", "#user", "#word", "#database", ""),
    "postgresql+psycopg://app:pässword@db/my%20db?options=a@b": ("db", "app", "pässword", "my db", "options=a@b"),
    "postgresql://app:a:b!$&'()*+,;=@db/n": ("db", "app", "a:b!$&'()*+,;=", "n", ""),
    LONG: ("ec2-107-21-253-135.compute-1.amazonaws.example:5431", "user", "word", "d8r82722r2kuvn", ""),
    # addresses of IPv6
    "postgresql://[::1]:12345/db": ("::1:12345", None, None, "db", ""),
    "postgres://u:p@[2001:db8:1234::1234:5678:90af]:5431/d": ("2001:db8:1234::1234:5678:90af:5431", "u", "p", "d", ""),
    "postgresql://[fe80::1%25eth0]/db": ("fe80::1%eth0", None, None, "db", ""),
    "postgresql:///db?host=::1&port=5": ("::1:5", None, None, "db", ""),
    # several hosts
    "postgresql://h1:1,h2:2/db?target_session_attrs=any": ("h1:1,h2:2", None, None, "db", "target_session_attrs=any"),
    "postgresql://u@h1:1111,[::1]:2222/db": ("h1:1111,::1:2222", "u", None, "db", ""),
    "postgresql://h1,h2:5/db": ("h1,h2:5", None, None, "db", ""),
    "postgresql://h1,h2/db?port=5": ("h1:5,h2:5", None, None, "db", ""),
    "postgresql:///db?host=h1,h2&port=5,6": ("h1:5,h2:6", None, None, "db", ""),
    "postgresql:///db?host=h1:5,h2:6": ("h1:5,h2:6", None, None, "db", ""),
    "postgresql+psycopg://u:p@/db?host=A:5432&host=B&host=C:1": ("A:5432,B,C:1", "u", "p", "db", ""),
    # Unix sockets
    "postgresql://app@%2Fvar%2Frun/db": ("/var/run", "app", None, "db", ""),
    "postgresql:///db?host=/tmp": ("/tmp", None, None, "db", ""),
    "postgresql://app@:12345?host=/no/such": ("/no/such:12345", "app", None, None, ""),
    "postgresql://u:p@/n?host=%2Frun%2Fpostgresql&port=5432": ("/run/postgresql:5432", "u", "p", "n", ""),
    "mysql://u:p@localhost/n?unix_socket=/run/x.sock": ("/run/x.sock", "u", "p", "n", ""),
    "mysql://u:p@%2Frun%2Fx.sock/n": ("/run/x.sock", "u", "p", "n", ""),
    "unix:///socket": ("/socket", None, None, None, ""),
    "unix://:word@/my%2Fpath/+_%2B%3D%24+socket?db=3": ("/my/path/+_+=$+socket", None, "word", "3", ""),
    # the query wins
    "postgresql://a:b@h:1/n?host=H&port=2&user=A&password=B&dbname=N": ("H:2", "A", "B", "N", ""),
    "postgresql://h:5433/n?host=other": ("other:5433", None, None, "n", ""),
    "postgresql://a@h/n?user=&dbname=": ("h", "a", None, "n", ""),
    "postgres://host/db?u%73er=other&po%72t=12345": ("host:12345", "other", None, "db", ""),
    "mysql+pymysql://u:p@h/n?passwd=x&charset=utf8": ("h", "u", "x", "n", "charset=utf8"),
    "redis://localhost/1?db=2": ("localhost", None, None, "2", ""),
    # options
    "postgresql://u:p@h/n?sslmode=verify-full&sslrootcert=/ca.pem": (
        *("h", "u", "p", "n"),
        "sslmode=verify-full,sslrootcert=/ca.pem",
    ),
    "postgres://u:p@h/n?currentSchema=other": ("h", "u", "p", "n", "currentSchema=other"),
    "postgres://u:p@h/n?options=-c%20search_path%3Da,b": ("h", "u", "p", "n", "options=-c search_path=a,b"),
    "postgres://u:p@h/n?options=-c+x%3D1": ("h", "u", "p", "n", "options=-c x=1"),
    "mysql://u:p@h/n?ssl-ca=rds.pem&reconnect=true": ("h", "u", "p", "n", "ssl-ca=rds.pem,reconnect=true"),
    # Redis
    "redis://localhost:6379/0": ("localhost:6379", None, None, "0", ""),
    "redis://:%2Fword%2F%2B+x%3D%24+@localhost": ("localhost", None, "/word/++x=$+", None, ""),
    "rediss://u:p@my%20host/?ssl_ca_certs=/ca&socket_timeout=2.5": (
        *("my host", "u", "p", None),
        "ssl_ca_certs=/ca,socket_timeout=2.5",
    ),
    # databases of SQLAlchemy that Strongroom does not know
    "sqlite://": ("", None, None, None, ""),
    "sqlite:///app.db": ("", None, None, "app.db", ""),
    "sqlite:////usr/_x@example.com/m.db": ("", None, None, "/usr/_x@example.com/m.db", ""),
    "sqlite+pysqlite_numeric:///E:/db.db?uri=true": ("", None, None, "E:/db.db", "uri=true"),
    "mssql+pyodbc://u:p@host\\inst/n?driver=ODBC Driver+17": ("host\\inst", "u", "p", "n", "driver=ODBC Driver 17"),
    "oracle://u:p@h:1521/sid?host=x": ("h:1521", "u", "p", "sid", "host=x"),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_read_as_libpq_reads_it(url):
    found = read_address(protect_data({"url": url}))
    assert shape(found) == URLS[url]
    assert shape(read_address(protect_data({"url": found.url()})))[1:4] == URLS[url][1:4]


MALFORMED = {
    "no scheme": f"shop:{CANARY}@db/x",
    "one slash": f"postgres:/shop:{CANARY}@db/x",
    "keywords": f"host=db password={CANARY}",
    "number sign": f"postgresql://app:x#{CANARY}@db/n",
    "slash": f"postgresql://app:{CANARY}/x@db/n",
    "digits and a slash": f"postgresql://app:12/{CANARY}@db/n",
    "question mark": f"postgresql://app:x?{CANARY}@db/n",
    "at sign": f"postgresql://app:x@{CANARY}@db/n",
    "bracket": f"postgresql://app:{CANARY}@[::1/n",
    "no brackets": f"postgresql://app:{CANARY}@2001:db8::1234/n",
    "no address": f"postgresql://app:{CANARY}@[200z:db8::1]/n",
    "per cent": f"postgresql://app:%zz{CANARY}@db/n",
    "not UTF-8": f"postgresql://app:%ff{CANARY}@db/n",
    "null": f"postgresql://app:%00{CANARY}@db/n",
    "space": f"postgresql://app:a {CANARY}@db/n",
    "line end": f"postgresql://app:a\n{CANARY}@db/n",
    "plus in the query": f"postgresql://app@db/n?password={CANARY}+x",
    "query without a value": f"postgresql://db/n?{CANARY}",
    "no port": f"postgresql://app:{CANARY}/n",
    "port": f"postgresql://app:{CANARY}@db:65536/n",
    "ports": f"postgresql://app:{CANARY}@h1,h2/n?port=1,2,3",
    "missing host": f"postgresql://app:{CANARY}@h1,/n",
    "memory of SQLite": f"sqlite://:{CANARY}:",
}


def shown(error):
    """Return all text that a tool that shows local variables prints of an error."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def refused(data, **options):
    """Return the error of reading this secret. No local variable here has a value."""
    data = protect_data(data)
    with pytest.raises(InvalidDataError) as caught:
        read_address(data, "database/connection", **options)
    return caught.value


@pytest.mark.parametrize("form", MALFORMED)
def test_a_malformed_url_is_refused_without_its_text(form):
    """Also where drivers would find different logins in it."""
    error = refused({"url": MALFORMED[form]})
    assert "key 'url' is not a valid URL: write scheme://user:password@host/name" in str(error)
    assert CANARY not in shown(error)


@pytest.mark.parametrize(
    ("kind", "url"),
    [("PostgreSQL", "sqlite:///x"), ("PostgreSQL", "mysql://h/n"), ("MySQL", "redis://h"), ("Redis", "postgres://h/n")],
)
def test_the_url_of_another_kind_of_database_is_refused(kind, url):
    assert f"key 'url' is not a URL of {kind}" in str(refused({"url": url}, kind=kind))


WHOLE = {"host": "db", "port": 5432, "user": "u", "password": "p", "name": "n"}

PARTS = {
    "whole": (WHOLE, ("db:5432", "u", "p", "n", "")),
    "text": ({**WHOLE, "port": "5432"}, ("db:5432", "u", "p", "n", "")),
    "of AWS": (
        {"engine": "postgres", "host": "db", "username": "u", "password": "p", "dbname": "n"},
        ("db", *"upn", ""),
    ),
    "database": ({**WHOLE, "name": None, "database": "d"}, ("db:5432", "u", "p", "d", "")),
    "sslmode": ({**WHOLE, "sslmode": "verify-full"}, ("db:5432", "u", "p", "n", "sslmode=verify-full")),
    "sslrootcert": (
        {**WHOLE, "sslmode": "verify-full", "sslrootcert": "/ca"},
        ("db:5432", "u", "p", "n", "sslmode=verify-full,sslrootcert=/ca"),
    ),
    "sslrootcert beside a URL": (
        {"url": "postgresql://h/n?sslmode=verify-ca", "sslmode": "x", "sslrootcert": "/ca"},
        ("h", None, None, "n", "sslmode=verify-ca,sslrootcert=/ca"),
    ),
    "the URL's own sslrootcert": (
        {"url": "postgresql://h/n?sslrootcert=/own", "sslrootcert": "/ca"},
        ("h", None, None, "n", "sslrootcert=/own"),
    ),
    "one port for all": ({**WHOLE, "host": "h1,h2", "port": 5}, ("h1:5,h2:5", "u", "p", "n", "")),
    "a port for each": ({**WHOLE, "host": "h1,h2,h3", "port": "5,,6"}, ("h1:5,h2,h3:6", "u", "p", "n", "")),
    "IPv6": ({**WHOLE, "host": "::1,[::2]"}, ("::1:5432,::2:5432", "u", "p", "n", "")),
    "socket": ({**WHOLE, "host": "/run/postgresql"}, ("/run/postgresql:5432", "u", "p", "n", "")),
    "an account": ({"username": "u", "password": "p", "port": ""}, ("", "u", "p", None, "")),
    "beside a URL": (
        {**WHOLE, "url": "postgresql://other/m", "port": 1, "sslmode": "require"},
        ("other", "u", "p", "m", "sslmode=require"),
    ),
    "a port beside a URL": ({"url": "postgresql://u:p@db/n", "port": 5433}, ("db:5433", *"upn", "")),
    "the same host beside a URL": ({**WHOLE, "url": "postgresql://db/m", "port": "5"}, ("db:5", *"upm", "")),
    "a port for both hosts": ({"url": "postgresql://h1,h2/n", "port": 5}, ("h1:5,h2:5", None, None, "n", "")),
    "a port for each host": ({"url": "postgresql:///n?host=h1,::1", "port": "5,"}, ("h1:5,::1", None, None, "n", "")),
    "a port beside a socket": ({"url": "postgresql://%2Frun/n", "port": 5}, ("/run:5", None, None, "n", "")),
    "a port beside one": ({"url": "postgresql://h1,h2:6/n", "port": 5}, ("h1,h2:6", None, None, "n", "")),
    "a port alone": ({"url": "postgresql:///n", "port": 5}, (":5", None, None, "n", "")),
    "a host beside a port": ({**WHOLE, "url": "postgresql://:6/m"}, ("db:6", *"upm", "")),
    "a port of MySQL": ({"url": "mysql://u:p@db/n", "port": 3307}, ("db:3307", *"upn", "")),
    "a port of Redis": ({"url": "redis://:p@db/1", "port": 6380}, ("db:6380", None, "p", "1", "")),
    "beside a whole URL": ({"url": "postgresql://h:6/n", "host": "x:y", "port": "z"}, ("h:6", None, None, "n", "")),
    "the URL's own": ({**WHOLE, "url": "postgresql://a:b@h/m?sslmode=x", "sslmode": "y"}, ("h", *"abm", "sslmode=x")),
    "beside SQLite": ({**WHOLE, "url": "sqlite:///x"}, ("", None, None, "x", "")),
}


@pytest.mark.parametrize("form", PARTS)
def test_parts_are_read_as_a_url_is(form):
    """A key fills a part that the URL lacks. A port is not joined to the host of another server."""
    data, expected = PARTS[form]
    assert shape(read_address(protect_data(data))) == expected


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("host", f"{CANARY}:5432", "key 'host' holds more than a host"),
        ("host", f"u:{CANARY}@db", "key 'host' holds more than a host"),
        ("port", CANARY, "key 'port' does not hold a number"),
        ("port", "5,6", "or one for each host"),
        ("port", "70000", "key 'port' does not hold a number"),
    ],
)
def test_a_malformed_part_is_refused_without_its_text(part, value, reason):
    error = refused({**WHOLE, part: value})
    assert reason in str(error)
    assert CANARY not in str(error)


def test_ports_beside_a_url_must_fit_its_hosts():
    assert "or one for each host" in str(refused({"url": "postgresql://h1,h2/n", "port": "1,2,3"}))


@pytest.mark.parametrize("kind", ["MySQL", "Redis"])
def test_several_hosts_are_for_postgresql_only(kind):
    assert "several hosts" in str(refused({**WHOLE, "host": "h1,h2"}, kind=kind))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h/n?sslmode=",
        "postgresql+asyncpg://u:p@h/n?sslrootcert=/ca.pem&sslmode=",
        "postgresql://u:p@h/n?sslmode=verify-full&sslmode=",
        "postgresql://u:p@h/n?channel_binding=",
        "mysql://u:p@h/n?ssl_ca=",
        "rediss://:p@h?ssl_check_hostname=",
    ],
)
def test_an_option_without_a_value_is_refused(url):
    """Some drivers leave it out, and with it the verification of the server."""
    assert "an option without a value" in str(refused({"url": url, "sslmode": "verify-full"}))


def address(url, **parts):
    return read_address(protect_data({"url": url, **parts}))


@pytest.mark.parametrize(
    ("form", "url"),
    [
        (WHOLE, "postgresql://u:p@db:5432/n"),
        ({**WHOLE, "host": "/run/postgresql"}, "postgresql://u:p@/n?host=%2Frun%2Fpostgresql&port=5432"),
        ({**WHOLE, "host": "h1,h2", "port": ",6"}, "postgresql://u:p@/n?host=h1%2Ch2&port=5432%2C6"),
        ({**WHOLE, "sslmode": "require"}, "postgresql://u:p@db:5432/n?sslmode=require"),
        ({"url": "postgresql+asyncpg://h/n?sslmode=require"}, "postgresql+asyncpg://h/n?ssl=require"),
        ({"url": "mysql://u:p@/n?unix_socket=/x&charset=utf8"}, "mysql://u:p@/n?unix_socket=%2Fx&charset=utf8"),
        ({"url": "redis://:p@%2Fx/2"}, "unix://:p@/x?db=2"),
    ],
)
def test_a_url_is_written_in_the_form_that_drivers_agree_on(form, url):
    """A socket's folder and several hosts are in the query, which SQLAlchemy needs."""
    assert read_address(protect_data(form)).url() == url


def test_keywords_of_libpq():
    found = address("postgresql://u:p@h1,h2:5/n?sslmode=require&options=-c x")
    expected = {"host": "h1,h2", "port": "5432,5", "dbname": "n"}
    assert found.libpq() == {**expected, "sslmode": "require", "options": "-c x"}
    assert address("postgresql://u@%2Frun/n").libpq() == {"host": "/run", "dbname": "n"}


def test_arguments_of_mysql_have_their_types():
    """PyMySQL takes the text `false` for true."""
    found = address("mysql://u:p@h:3307/n?connect_timeout=5&local_infile=false&charset=utf8").mysql()
    expected = {"host": "h", "port": 3307, "database": "n"}
    assert found == {**expected, "connect_timeout": 5, "local_infile": False, "charset": "utf8"}
    assert address("mysql://u@localhost/?unix_socket=/x").mysql() == {"unix_socket": "/x"}


def test_arguments_of_redis_have_their_types():
    found = address("rediss://u:p@h:7/2?ssl_ca_certs=/ca&socket_timeout=2.5&retry_on_timeout=yes").redis()
    expected = {"host": "h", "port": 7, "db": 2, "ssl": True, "ssl_ca_certs": "/ca"}
    assert found == {**expected, "socket_timeout": 2.5, "retry_on_timeout": True}
    assert address("unix:///x?db=1").redis() == {"unix_socket_path": "/x", "db": 1, "ssl": False}
    assert address("valkey://h").redis() == {"host": "h", "ssl": False}


@pytest.mark.parametrize("url", ["redis://h/cache", "redis://h?socket_timeout=x", "redis://h?ssl_ca_certs=/ca"])
def test_a_url_that_redis_py_would_not_keep_whole_is_refused(url):
    """It ignores a database that is not a number, and options of TLS without TLS."""
    with pytest.raises(InvalidDataError, match="key 'url'"):
        address(url).redis()


@pytest.mark.parametrize("option", ["ssl=true", "ssl=True", "ssl=1", "SSL=yes", "sslmode=require", "ssl_cert_reqs=x"])
@pytest.mark.parametrize("where", ["redis://:p@h", "valkey://:p@h", "unix:///run/x"])
def test_redis_never_gets_plain_text_for_a_url_that_asks_for_tls(where, option):
    """The scheme alone decides, as for redis-py."""
    with pytest.raises(InvalidDataError, match="options of TLS without TLS"):
        address(f"{where}?{option}").redis()


def test_the_scheme_of_redis_is_not_contradicted():
    with pytest.raises(InvalidDataError, match="options of TLS"):
        address("rediss://h?ssl=false").redis()


def test_an_unknown_option_of_redis_is_left_to_the_driver():
    """Also one that has the name of an argument in redis-py's own parser."""
    assert address("redis://h?tls=true&path=/x").redis() == {"host": "h", "tls": "true", "path": "/x", "ssl": False}


texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)
hosts = st.builds(
    Host,
    st.sampled_from(["db", "db.example", "::1", "10.0.0.1", "/run/postgresql"]),
    st.integers(1, 65535),
)
addresses = st.builds(
    DatabaseAddress,
    st.just("postgresql"),
    st.lists(hosts, max_size=3).map(tuple),
    *[st.none() | texts.map(SensitiveStr)] * 3,
    st.lists(st.tuples(st.sampled_from(["sslmode", "options"]), texts.map(SensitiveStr)), max_size=2).map(tuple),
)


@given(addresses)
def test_what_is_written_is_read_again(given_address):
    assert read_address(SensitiveDict(url=given_address.url())) == given_address


@given(user=texts, password=texts)
def test_another_login_is_read_from_the_url(user, password):
    """Wherever the URL has its own."""
    for url in ("postgresql://u:p@[::1]:5432/n?a=b@c", "postgresql://[::1]:5432/n?a=b&user=u&password=p"):
        before = address(url)
        found = address(url_with(SensitiveStr(url), user, password))
        assert (found.user, found.password) == (user, password)
        assert (found.hosts, found.name, found.options) == (before.hosts, before.name, before.options)


def test_an_address_shows_nothing():
    assert "secret" not in repr(address("postgresql://secret:secret@secret/secret?x=secret"))
