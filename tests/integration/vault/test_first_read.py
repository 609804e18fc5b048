"""The first read of a process proves the version of the engine. Without a secret in its reply the mount is asked."""

import contextlib
import json

import pytest

from strongroom import ConfigurationError, PermissionDeniedError, SecretNotFoundError, SecretsManager
from strongroom_vault.errors import VaultAuthenticationError

MOUNTS = "sys/internal/ui/mounts/secret"
LOOKUP = "auth/token/lookup-self"


@pytest.fixture
def opened(fresh_openbao):
    """Return a function that opens a manager as a new process does. Its `sent` lists the requests since then."""
    prepared = 0

    @contextlib.contextmanager
    def open_(mount="secret", token=None, **options):
        nonlocal prepared
        given = {"url": fresh_openbao.url, "token": token or fresh_openbao.token, "mount": mount, **options}
        chain = [{"store": "vault", **given}]
        prepared = len(sent())
        with SecretsManager(chain=chain) as secrets:
            yield secrets

    def sent():
        entries = fresh_openbao.audit_entries()
        return [entry["request"]["path"] for entry in entries if entry["type"] == "request"]

    def new():
        return sent()[prepared:]

    open_.sent = new
    return open_


def remount(server, version, mount="secret"):
    server.call("DELETE", f"sys/mounts/{mount}")
    server.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": str(version)}})


def test_one_read_of_a_process_sends_two_requests(fresh_openbao, opened):
    """The secret, and at the end the lookup that tells whether the token needs a renewal."""
    fresh_openbao.put("db/app", {"k": "v"})
    with opened(token=fresh_openbao.issue_token({"secret/data/*": ["read"], LOOKUP: ["read"]})) as secrets:
        assert secrets.get_secret("db/app", "k") == "v"
        assert opened.sent() == ["secret/data/db/app"]
        assert secrets.get_secret("db/app", "k", fresh=True) == "v"
    assert opened.sent() == ["secret/data/db/app"] * 2 + [LOOKUP]


@pytest.mark.parametrize("issue", [False, "lasting"])
def test_a_read_that_must_not_issue_asks_for_no_version_either(fresh_openbao, opened, issue):
    """As those of `get` and of helpers, which open the store to learn whether it issues credentials."""
    fresh_openbao.put("db/app", {"k": "v"})
    with opened() as secrets:
        assert secrets.resolve("db/app", "k", allow_dynamic=issue).value == "v"
        assert opened.sent() == ["secret/data/db/app"]


def test_one_read_with_a_batch_token_sends_one_request(fresh_openbao, opened):
    """No renewal can lengthen its life, so that nothing is asked about it when the process ends."""
    fresh_openbao.put("db/app", {"k": "v"})
    policy = fresh_openbao.write_policy({"secret/data/*": ["read"], LOOKUP: ["read"]})
    given = {"type": "batch", "policies": [policy], "ttl": "1h"}
    token = fresh_openbao.call("POST", "auth/token/create", given)["auth"]["client_token"]
    with opened(token=token) as secrets:
        assert secrets.get_secret("db/app", "k") == "v"
    assert opened.sent() == ["secret/data/db/app"]


def test_a_batch_asks_for_each_secret_once(fresh_openbao, opened):
    paths = [f"app/{number}" for number in range(5)]
    for path in paths:
        fresh_openbao.put(path, {"k": path})
    with opened() as secrets:
        found = secrets.get_secrets([*paths, "absent"])
        assert [found[path]["k"] for path in paths] == paths
        assert "absent" not in found
        assert sorted(opened.sent()) == sorted(f"secret/data/{path}" for path in [*paths, "absent"])


def test_an_absence_is_answered_after_the_mount_was_asked(fresh_openbao, opened):
    """A version 1 engine answers the same to a path of version 2."""
    with opened() as secrets:
        with pytest.raises(SecretNotFoundError):
            secrets.get_secret("db/app")
        assert opened.sent() == ["secret/data/db/app", MOUNTS]


def test_a_secret_of_a_version_1_engine_is_found(fresh_openbao, opened):
    remount(fresh_openbao, 1)
    fresh_openbao.call("PUT", "secret/db/app", {"k": "v"})
    with opened() as secrets:
        assert secrets.get_secret("db/app", "k") == "v"
        assert secrets.resolve("db/app", "k").version is None


def test_a_version_1_engine_that_the_configuration_names_is_not_asked_for_its_version(fresh_openbao, opened):
    remount(fresh_openbao, 1)
    fresh_openbao.call("PUT", "secret/db/app", {"k": "v"})
    with opened(version=1) as secrets:
        assert secrets.get_secret("db/app", "k") == "v"
        assert opened.sent() == ["secret/db/app"]


@pytest.mark.parametrize("path", ["db/app", "data/db/app", "metadata/db/app", "config"])
def test_an_engine_of_another_version_than_the_configuration_names_is_found_out(fresh_openbao, opened, path):
    """Also if a path of version 1 has the name of a folder of the API of version 2."""
    fresh_openbao.put("db/app", {"k": "other"})
    fresh_openbao.put(path, {"k": "v"})
    with opened(version=1) as secrets:
        assert secrets.get_secret(path, "k") == "v"
        assert secrets.resolve(path, "k").version == 1 + (path == "db/app")


@pytest.mark.parametrize("version", [1, 2])
def test_an_absence_is_answered_after_the_mount_was_asked_with_a_version_too(fresh_openbao, opened, version):
    with opened(version=version) as secrets:
        with pytest.raises(SecretNotFoundError):
            secrets.get_secret("db/app")
        assert MOUNTS in opened.sent()


@pytest.mark.parametrize("ttl", [None, "0", "1h"])
def test_a_secret_of_version_1_that_looks_like_version_2_is_not_taken(fresh_openbao, opened, ttl):
    """Who may write `data/…` of such a mount must not answer for the paths beside it."""
    remount(fresh_openbao, 1)
    metadata = {"version": 1, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False}
    forged = {"data": {"k": "forged"}, "metadata": metadata, **({} if ttl is None else {"ttl": ttl})}
    fresh_openbao.call("PUT", "secret/data/db/app", forged)
    fresh_openbao.call("PUT", "secret/db/app", {"k": "v"})
    with opened() as secrets:
        assert secrets.get_secret("db/app", "k") == "v"


def test_a_mount_of_another_version_is_found_by_the_next_process(fresh_openbao, opened):
    """Nothing of an earlier answer is kept."""
    fresh_openbao.put("db/app", {"k": "two"})
    with opened() as secrets:
        assert secrets.get_secret("db/app", "k") == "two"
    remount(fresh_openbao, 1)
    fresh_openbao.call("PUT", "secret/db/app", {"k": "one"})
    with opened() as secrets:
        assert secrets.get_secret("db/app", "k") == "one"


def test_a_wrong_mount_is_an_error_and_no_absence(opened):
    with opened("typo") as secrets, pytest.raises(ConfigurationError, match="there is no mount 'typo'"):
        secrets.get_secret("db/app")


def test_the_api_path_as_mount_is_an_error_also_where_a_secret_has_that_name(fresh_openbao, opened):
    """`secret/data` is the API's: a change below it would write secrets named `metadata/…`."""
    fresh_openbao.put("data/db/app", {"k": "v"})
    with opened("secret/data") as secrets, pytest.raises(ConfigurationError, match="is below the mount 'secret/'"):
        secrets.get_secret("db/app")


def test_a_denial_and_a_bad_token_stay_what_they_are(fresh_openbao, opened):
    fresh_openbao.put("db/app", {"k": "v"})
    limited = fresh_openbao.issue_token({"secret/data/mine/*": ["read"]})
    with opened(token=limited) as secrets, pytest.raises(PermissionDeniedError, match="policies do not allow"):
        secrets.get_secret("db/app")
    with opened(token="s.wrong") as secrets, pytest.raises(VaultAuthenticationError):
        secrets.get_secret("db/app")


def test_a_reply_serves_the_read_that_opened_the_store_alone(fresh_openbao, opened):
    """Not a later one: another process may have written since."""
    fresh_openbao.put("db/app", {"k": "old"})
    with opened() as secrets:
        assert secrets.get_secret("db/app", "k") == "old"
        fresh_openbao.put("db/app", {"k": "new"})
        secrets.invalidate()
        assert secrets.get_secret("db/app", "k") == "new"
        secrets.set_secret("db/app", {"k": "newer"})
        assert json.dumps(secrets.get_secret("db/app", "k")) == '"newer"'
