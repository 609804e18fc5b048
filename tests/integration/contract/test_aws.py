"""The stores of AWS keep the contract, on moto."""

import uuid

import pytest

from aws import Moto, found_here
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.testing import StoreContract, silent_server
from strongroom.testing.contract_base import PATH, fails, holds, secret_data
from strongroom_aws.plugin import open_parameter_store, open_secrets_manager


@pytest.fixture(scope="module")
def strict_moto():
    """It checks policies, and knows a user who has none."""
    server = Moto(checked=2)
    iam = server.client("iam")
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    server.nobody = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    yield server
    server.close()


class AWSContract(StoreContract):
    """Here each is used below a prefix of its own."""

    @staticmethod
    def open(**options):
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def no_machine(self, monkeypatch):
        found_here(monkeypatch)

    @pytest.fixture
    def store(self, moto, monkeypatch):
        moto.use(monkeypatch)
        return self.open(prefix=f"t/{uuid.uuid4().hex[:8]}")

    @pytest.fixture
    def denied(self, strict_moto, monkeypatch):
        for name, text in strict_moto.nobody.items():
            monkeypatch.setenv(name, text)
        return self.open(endpoint_url=strict_moto.url)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield self.open(endpoint_url=f"http://{host}:{port}")


def destroys_nothing(opened):
    """A version is refused to be destroyed, and stays; so does the secret."""
    front = opened({PATH: secret_data(own="0")})
    front.write(PATH, secret_data(own="1"))
    oldest, newest = (info.version for info in front.versions(PATH))
    for version in (oldest, newest):
        with fails(UnsupportedOperationError):
            front.destroy(PATH, version)
    assert front.read_version(PATH, oldest).data["own"] == "0"
    holds(front, "1", newest)


NAMES = {"path with a space", "path with marks", "path that is escaped already", "unicode path"}


class TestSecretsManager(AWSContract):
    """One secret of AWS is one secret. A write restores what is scheduled for deletion, as it is told to here."""

    capabilities = frozenset({"listable", "writable", "versioned", "bulk", "probed"})
    cannot_hold = NAMES | {"64 KiB"}

    @staticmethod
    def open(**options):
        return open_secrets_manager(restore=True, **options)

    def test_history_names_what_is_deleted(self, opened):
        """AWS deletes and restores a whole secret: what a write restores is readable again, and so says the history."""
        front = opened({PATH: secret_data(own="0")})
        front.delete(PATH)
        front.write(PATH, secret_data(own="1"))
        oldest, newest = front.versions(PATH)
        assert (oldest.deleted, newest.deleted) == (False, False)
        assert front.read_version(PATH, oldest.version).data["own"] == "0"
        holds(front, "1", newest.version)

    def test_destroyed_version_is_gone(self, opened):
        """AWS destroys no version: it is refused, and never said to be done."""
        destroys_nothing(opened)

    def test_destroyed_newest_version_leaves_nothing_to_read(self, opened):
        """Nor of a deleted secret, which stays as it is."""
        front = opened({PATH: secret_data(own="0")})
        [info] = front.versions(PATH)
        front.delete(PATH)
        with fails(UnsupportedOperationError):
            front.destroy(PATH, info.version)
        with fails(SecretNotFoundError):
            front.read(PATH)


class TestParameterSecrets(AWSContract):
    """One parameter is one secret, in JSON. It is deleted with all its versions, and none of them alone."""

    capabilities = frozenset({"listable", "writable", "versioned", "final_deletes", "bulk", "probed"})
    cannot_hold = NAMES | {"64 KiB"}
    page_size = 10

    @staticmethod
    def open(**options):
        return open_parameter_store(layout="secrets", **options)

    def test_destroyed_version_is_gone(self, opened):
        """AWS destroys no version: it is refused, and never said to be done."""
        destroys_nothing(opened)


class TestParameterKeys(AWSContract):
    """One parameter is one key."""

    capabilities = frozenset({"listable", "writable", "piecewise", "probed"})
    cannot_hold = NAMES | {
        "64 KiB",
        "key with a space",
        "keys with marks",
        "key with a slash",
        "key with a backslash",
        "unicode key",
    }
    page_size = 10

    @staticmethod
    def open(**options):
        return open_parameter_store(**options)

    def test_write_is_seen_at_once(self, opened):
        """A write that returned is what the next read gives. While it runs, some keys may be new and some old."""
        front = opened({PATH: secret_data(turn="0", copy="0")})
        for turn in map(str, range(1, 6)):
            front.write(PATH, secret_data(turn=turn, copy=turn))
            read = front.read(PATH).data
            assert (read["turn"], read["copy"]) == (turn, turn)
