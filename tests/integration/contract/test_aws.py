"""The stores of AWS keep the contract, on moto."""

import uuid
from typing import ClassVar

import pytest

from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.testing import PluginContract, StoreContract, dripping_server, silent_server
from strongroom.testing.store_contract.base import PATH, fails, holds, secret_data
from strongroom_aws.plugin import open_parameter_store, open_secrets_manager
from support.services.aws import found_here


class AWSContract(StoreContract):
    """Shared by the stores of AWS. Each test uses a fresh prefix. A write of moto takes milliseconds."""

    many = 24

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
    def denied(self, moto, monkeypatch):
        """The store of a user without any policy."""
        iam = moto.client("iam")
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with moto.checking():
            yield self.open(endpoint_url=moto.url)

    @pytest.fixture
    def unreachable(self):
        with silent_server() as (host, port):
            yield self.open(endpoint_url=f"http://{host}:{port}")

    @pytest.fixture
    def dripping(self):
        with dripping_server() as (host, port):
            yield self.open(endpoint_url=f"http://{host}:{port}")


class TestSecretsManagerPlugin(PluginContract):
    """The plugin `aws-secretsmanager`, which imports boto3 when it is opened."""

    plugin = "aws-secretsmanager"
    refused: ClassVar = [{"prefix": "a//b"}, {"recovery_days": 3}]
    lazy = frozenset({"boto3", "botocore"})


class TestParameterStorePlugin(PluginContract):
    """The plugin `aws-ssm`."""

    plugin = "aws-ssm"
    refused: ClassVar = [{"prefix": "a//b"}, {"layout": "keys", "tag_prefix": "x"}]
    lazy = frozenset({"boto3", "botocore"})


def destroys_nothing(opened):
    """Assert that no version can be destroyed and that nothing changes."""
    guarded = opened({PATH: secret_data(own="0")})
    guarded.write(PATH, secret_data(own="1"))
    oldest, newest = (info.version for info in guarded.versions(PATH))
    for version in (oldest, newest):
        with fails(UnsupportedOperationError):
            guarded.destroy(PATH, version)
    assert guarded.read_version(PATH, oldest).data["own"] == "0"
    holds(guarded, "1", newest)


NAMES = {"path with a space", "path with marks", "path that is escaped already", "unicode path"}


class TestSecretsManager(AWSContract):
    """One secret of AWS is one secret. With `restore`, a write restores a secret that is scheduled for deletion."""

    capabilities = frozenset({"listable", "writable", "versioned", "bulk", "probed"})
    cannot_hold = NAMES | {"64 KiB"}
    page_size = 20  # of a batch; tests/integration/aws/test_secrets_manager.py lists more than one page of 100

    @staticmethod
    def open(**options):
        return open_secrets_manager(restore=True, **options)

    def test_history_names_what_is_deleted(self, opened):
        """AWS deletes and restores a whole secret: a write makes all versions readable again."""
        guarded = opened({PATH: secret_data(own="0")})
        guarded.delete(PATH)
        guarded.write(PATH, secret_data(own="1"))
        oldest, newest = guarded.versions(PATH)
        assert (oldest.deleted, newest.deleted) == (False, False)
        assert guarded.read_version(PATH, oldest.version).data["own"] == "0"
        holds(guarded, "1", newest.version)

    def test_destroyed_version_is_gone(self, opened):
        """AWS cannot destroy a version: the operation is refused."""
        destroys_nothing(opened)

    def test_destroyed_newest_version_leaves_nothing_to_read(self, opened):
        """Destroying a version of a deleted secret is refused and changes nothing."""
        guarded = opened({PATH: secret_data(own="0")})
        [info] = guarded.versions(PATH)
        guarded.delete(PATH)
        with fails(UnsupportedOperationError):
            guarded.destroy(PATH, info.version)
        with fails(SecretNotFoundError):
            guarded.read(PATH)


@pytest.mark.long
class TestParameterSecrets(AWSContract):
    """One parameter is one secret, in JSON. A delete removes all its versions."""

    capabilities = frozenset({"listable", "writable", "versioned", "final_deletes", "bulk", "probed"})
    cannot_hold = NAMES | {"64 KiB"}
    page_size = 10

    @staticmethod
    def open(**options):
        return open_parameter_store(layout="secrets", **options)

    def test_destroyed_version_is_gone(self, opened):
        """AWS cannot destroy a version: the operation is refused."""
        destroys_nothing(opened)


@pytest.mark.long
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
        """The next read returns what was written. During a write, some keys may be new and some old."""
        guarded = opened({PATH: secret_data(turn="0", copy="0")})
        for turn in map(str, range(1, 6)):
            guarded.write(PATH, secret_data(turn=turn, copy=turn))
            read = guarded.read(PATH).data
            assert (read["turn"], read["copy"]) == (turn, turn)
