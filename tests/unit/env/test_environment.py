"""The process environment as a store."""

from __future__ import annotations

import logging
import os

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import InvalidDataError, SecretNotFoundError, StoreUnavailableError
from strongroom.formats.variables import EnvironmentMapping
from strongroom.store import KeyedStore, ListableStore, WritableStore
from strongroom_env.variables import open_env

CANARY = "canary-91ab7e"


@pytest.fixture
def store():
    return open_env(mapping=EnvironmentMapping())


def refused(call, *arguments):
    with pytest.raises(SecretNotFoundError) as caught:
        call(*arguments)
    return str(caught.value)


def test_capabilities(store):
    """It is read by key, listed, always asked, and cannot be written to."""
    assert isinstance(store, KeyedStore)
    assert isinstance(store, ListableStore)
    assert store.traits.local
    assert not isinstance(store, WritableStore)


class TestWhole:
    def test_what_is_set(self, store, monkeypatch):
        """A whole read has the table's keys whose variables are set, as they are."""
        monkeypatch.setenv("DB_HOST", "db.example")
        monkeypatch.setenv("DB_PORT", " 5432\n")
        assert store.read("database/connection").data == {"host": "db.example", "port": " 5432\n"}

    def test_nothing_set(self, store):
        """Without any of its variables the secret is not there, and the message names what was looked for."""
        message = refused(store.read, "cache/redis")
        assert message.startswith("Secret not found: cache/redis (")
        assert "none of REDIS_HOST, REDIS_PORT, REDIS_PASSWORD is set in the environment" in message
        assert "JWT_SECRET" not in message
        assert "STRIPE_API_KEY is not set in the environment" in refused(store.read, "api-keys/stripe")

    def test_derived_names_are_never_read_whole(self, store, monkeypatch):
        """A path that the table does not know is not found whole, whatever looks like it is set."""
        monkeypatch.setenv("PAYMENTS_STRIPE_TOKEN", CANARY)
        assert "Ask for one key, or list its keys in [secrets]" in refused(store.read, "payments/stripe")
        assert store.read_key("payments/stripe", "token") == CANARY

    def test_own_rows(self, monkeypatch):
        """A row of `[secrets]` is read whole too."""
        store = open_env(mapping=EnvironmentMapping({"STRIPE": ("payments/stripe", "token")}))
        monkeypatch.setenv("STRIPE", CANARY)
        assert store.read("payments/stripe").data == {"token": CANARY}


class TestKeyed:
    def test_table_then_open_rule(self, store, monkeypatch):
        """A key of the table is its variable, and never the derived name; any other is the derived name."""
        monkeypatch.setenv("DATABASE_CONNECTION_HOST", "wrong")
        monkeypatch.setenv("DATABASE_CONNECTION_SSLMODE", "require")
        assert "DB_HOST is not set" in refused(store.read_key, "database/connection", "host")
        assert store.read_key("database/connection", "sslmode") == "require"

    def test_misses(self, store, monkeypatch):
        """A miss names its variable, and says whether it is unset or empty, or that no variable could stand for it."""
        assert "DATABASE_URL is not set in the environment" in refused(store.read_key, "database/connection", "url")
        monkeypatch.setenv("DATABASE_URL", "")
        assert "DATABASE_URL is empty in the environment" in refused(store.read_key, "database/connection", "url")
        assert "no variable stands for key 'ü'" in refused(store.read_key, "some/path", "ü")

    def test_reserved(self, monkeypatch):
        """VAULT_TOKEN and AWS credentials are not read by any path, though they are set."""
        for name in ("VAULT_TOKEN", "BAO_TOKEN", "STRONGROOM_KEY", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, CANARY)
        store = open_env(mapping=EnvironmentMapping())
        for path, key in [
            ("vault", "token"),
            ("bao", "token"),
            ("strongroom", "key"),
            ("aws/secret", "access_key"),
            ("aws", "secret-access-key"),
        ]:
            assert "no variable stands for" in refused(store.read_key, path, key)
        assert list(store.list_entries("")) == []

    def test_bytes(self, store, monkeypatch):
        """A value that is not UTF-8 comes as its bytes, in both kinds of read."""
        monkeypatch.setitem(os.environb, b"DB_PASSWORD", b"\xff\x00".replace(b"\0", b"\x01"))
        assert store.read_key("database/connection", "password") == b"\xff\x01"
        assert store.read("database/connection").data == {"password": b"\xff\x01"}

    def test_seen_at_once(self, store, monkeypatch):
        """A variable that changes later is read as it is then."""
        monkeypatch.setenv("DB_HOST", "one")
        assert store.read_key("database/connection", "host") == "one"
        monkeypatch.setenv("DB_HOST", "two")
        assert store.read_key("database/connection", "host") == "two"


class TestMissing:
    @pytest.mark.parametrize("link", ["tcp://10.0.0.11:6379", "udp://10.0.0.11:53", "sctp://10.0.0.11:1"])
    def test_service_link(self, store, monkeypatch, caplog, link):
        """What Kubernetes puts beside a service named redis is no port: skipped, with one warning."""
        monkeypatch.setenv("REDIS_PORT", link)
        monkeypatch.setenv("REDIS_HOST", "redis.example")
        for _ in range(3):
            assert store.read("cache/redis").data == {"host": "redis.example"}
            assert "REDIS_PORT is a Kubernetes service link" in refused(store.read_key, "cache/redis", "port")
        assert caplog.messages == ["REDIS_PORT in the environment is skipped: it holds a Kubernetes service link"]
        assert caplog.records[0].name == "strongroom.env"

    def test_a_url_elsewhere_is_a_value(self, store, monkeypatch, caplog):
        """The same text in a variable that is no port is the value."""
        monkeypatch.setenv("REDIS_HOST", "tcp://10.0.0.11:6379")
        monkeypatch.setenv("REDIS_PORT", "6379")
        assert store.read("cache/redis").data == {"host": "tcp://10.0.0.11:6379", "port": "6379"}
        assert caplog.messages == []

    def test_empty(self, store, monkeypatch):
        """An empty variable is missing: in whole reads, alone, and in listings."""
        monkeypatch.setenv("DB_HOST", "")
        refused(store.read, "database/connection")
        refused(store.read_key, "database/connection", "host")
        assert list(store.list_entries("database")) == []


class TestListing:
    def test_table_only(self, store, monkeypatch):
        """What the table knows and is set is listed, folder by folder; empty variables and links are not."""
        monkeypatch.setenv("DB_HOST", "x")
        monkeypatch.setenv("DB_POOL_SIZE", "5")
        monkeypatch.setenv("OPENAI_API_KEY", CANARY)
        monkeypatch.setenv("STRIPE_API_KEY", CANARY)
        monkeypatch.setenv("JWT_SECRET_KEY", "")
        monkeypatch.setenv("REDIS_PORT", "tcp://10.0.0.11:6379")
        assert list(store.list_entries("")) == ["api-keys/", "database/"]
        assert list(store.list_entries("database")) == ["connection", "pool"]
        assert list(store.list_entries("data")) == []
        assert list(store.list_entries("database/connection")) == []
        front = GuardedStore(store, "env")
        walked = list(front.walk())
        assert set(walked) == {"database/connection", "database/pool", "api-keys/openai", "api-keys/stripe"}
        assert all(front.read(path) for path in walked)

    def test_secret_and_folder_of_one_name(self, monkeypatch):
        """A path that is a secret and has secrets below is listed as both."""
        store = open_env(mapping=EnvironmentMapping({"A": ("app", "x"), "B": ("app/b", "x")}))
        monkeypatch.setenv("A", "1")
        monkeypatch.setenv("B", "2")
        assert list(store.list_entries("")) == ["app", "app/"]


@pytest.mark.parametrize(
    ("variable", "reads"),
    [
        (
            "DB_PRIMARY_PASSWORD",
            [
                ("db/primary", "password"),
                ("db-primary", "password"),
                ("DB/Primary", "password"),
                ("db", "primary.password"),
            ],
        ),
        ("MY_SVC_API_KEY", [("api-keys/my-svc", "key"), ("api-keys/my_svc", "key")]),
    ],
)
def test_a_variable_that_answers_for_two_paths_is_one_warning(store, monkeypatch, caplog, variable, reads):
    """Derived names are not unique: the second path may get the value of the first, which is another secret."""
    monkeypatch.setenv(variable, CANARY)
    path, key = reads[0]
    for _ in range(2):
        assert store.read_key(path, key) == CANARY
    assert not caplog.records
    for other in reads[1:] * 2:
        assert store.read_key(*other) == CANARY
    (message,) = caplog.messages
    assert message == (
        f"{variable} in the environment answers for {path}#{key} and for {'#'.join(reads[1])}: "
        "list both in [secrets], each with its own variable"
    )


def test_a_whole_read_and_a_missing_variable_are_no_second_answer(store, monkeypatch, caplog):
    """A path without a value got no wrong one."""
    monkeypatch.setenv("MY_SVC_API_KEY", CANARY)
    assert store.read("api-keys/my-svc").data == {"key": store.read_key("api-keys/my-svc", "key")}
    for path in ("db/primary", "db-primary"):
        refused(store.read_key, path, "password")
    assert not caplog.records
    assert store.read("api-keys/my_svc").data == {"key": CANARY}
    assert len(caplog.records) == 1


def test_environment_is_never_changed(store, monkeypatch):
    """No operation leaves a trace in os.environ."""
    monkeypatch.setenv("DB_HOST", CANARY)
    before = dict(os.environ)
    store.read("database/connection")
    list(store.list_entries(""))
    store.close()
    store.close()
    assert dict(os.environ) == before


def test_no_value_is_shown(store, monkeypatch, caplog):
    """Neither repr nor log nor error shows a value that is set."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("DB_HOST", CANARY)
    monkeypatch.setenv("REDIS_PORT", f"tcp://{CANARY}")
    shown = [repr(store), repr(store.read("database/connection")), repr(store.read_key("database/connection", "host"))]
    shown += [refused(store.read_key, "cache/redis", "port"), refused(store.read, "cache/redis"), caplog.text]
    assert CANARY not in "".join(shown)


class TestFiles:
    """`NAME_FILE` names a file with the value of `NAME`, as images for containers have it."""

    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        made = tmp_path / "password"
        made.write_bytes(b"hunter2\n")
        monkeypatch.setenv("DB_PASSWORD_FILE", str(made))
        return made

    def test_the_content_is_the_value_without_one_line_end(self, store, file):
        assert store.read_key("database/connection", "password") == "hunter2"
        assert store.read("database/connection").data == {"password": "hunter2"}
        assert list(store.list_entries("")) == ["database/"]
        file.write_bytes(b"other\r\n\r\n")
        assert store.read_key("database/connection", "password") == "other\r\n"

    def test_bytes_stay_bytes(self, store, file):
        file.write_bytes(b"\xff\x00")
        assert store.read_key("database/connection", "password") == b"\xff\x00"

    def test_an_empty_file_counts_as_missing(self, store, file):
        file.write_bytes(b"")
        refused(store.read_key, "database/connection", "password")

    def test_both_variables_are_a_mistake(self, store, file, monkeypatch):
        monkeypatch.setenv("DB_PASSWORD", CANARY)
        with pytest.raises(InvalidDataError, match="DB_PASSWORD and DB_PASSWORD_FILE are both set") as caught:
            store.read("database/connection")
        assert CANARY not in str(caught.value)

    def test_a_missing_file_is_an_outage_and_no_absence(self, store, file):
        """Another process may write it, and the next store must not answer in its place."""
        file.unlink()
        with pytest.raises(StoreUnavailableError, match="the file of DB_PASSWORD_FILE: No such file"):
            store.read_key("database/connection", "password")

    def test_a_name_that_ends_so_itself_is_a_plain_variable(self, store, monkeypatch):
        monkeypatch.setenv("TLS_KEY_FILE", "/run/tls.key")
        assert store.read_key("tls/key", "file") == "/run/tls.key"
