"""What the two engines do beyond the contract, on a real server."""

import string
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
)
from strongroom.secret import Secret
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.plugin import open_vault
from support.vault.engines import open_engine


@pytest.fixture
def open_guarded(openbao):
    """A function that opens a mount of the shared server, with a token of given rules or the root's."""
    fronts = []

    def open_(mount, rules=None, **options):
        token = openbao.token if rules is None else openbao.issue_token(rules)
        fronts.append(GuardedStore(open_vault(url=openbao.url, token=token, mount=mount, **options), "vault"))
        return fronts[-1]

    yield open_
    for front in fronts:
        front.close()


def test_versions_of_the_engine_are_two_classes(open_guarded, kv1, kv2):
    """The mount's own metadata tells, and only version 2 has check-and-set."""
    assert "VaultKV1" in repr(open_guarded(kv1))
    assert "checked" not in open_guarded(kv1).capabilities
    assert "VaultKV2" in repr(open_guarded(kv2))
    assert "checked" in open_guarded(kv2).capabilities


def test_secret_has_its_version_time_and_labels(openbao, open_guarded, kv2):
    """As the engine keeps them."""
    openbao.put("app", {"k": "v"}, mount=kv2)
    openbao.put("app", {"k": "w"}, mount=kv2)
    openbao.call("POST", f"{kv2}/metadata/app", {"custom_metadata": {"owner": "billing"}})
    secret = open_guarded(kv2).read("app")
    assert (secret.version, secret.metadata) == (2, {"owner": "billing"})
    assert datetime.now(UTC) - secret.created < timedelta(minutes=5)


def test_prefix_is_in_front_of_every_path(openbao, open_guarded, kv2):
    """Reads, writes and lists see what is below it, and nothing else."""
    front = open_guarded(kv2, prefix="team/billing/")
    front.write("app", {"k": "v"})
    openbao.put("team/other", {"k": "v"}, mount=kv2)
    assert openbao.peek("team/billing/app", mount=kv2) == {"k": "v"}
    assert list(front.list_entries("")) == ["app"]


@pytest.mark.parametrize("prefix", ["", "team/"])
def test_absence_names_the_path_without_the_mount(open_guarded, kv1, kv2, prefix):
    """A beginner writes the mount in front of the path, as the commands and the API of the server do."""
    for mount in (kv1, kv2):
        front = open_guarded(mount, prefix=prefix)
        wrong = [f"{mount}/api-keys/openai", f"{mount}/data/api-keys/openai", f"{mount}/{prefix}api-keys/openai"]
        answers = dict(front.read_many(wrong))
        for path in wrong:
            with pytest.raises(SecretNotFoundError, match=f"paths begin after {mount}/{prefix}: try api-keys/openai"):
                front.read(path)
            assert answers[path].reason == f"paths begin after {mount}/{prefix}: try api-keys/openai"
        with pytest.raises(SecretNotFoundError) as plain:
            front.read("api-keys/openai")
        assert plain.value.reason == ""


def test_new_secret_whose_path_begins_with_the_mount_is_a_warning(open_guarded, kv1, kv2, caplog):
    """It is written as asked, since a folder may have the mount's name. Further writes to it say nothing."""
    for mount in (kv1, kv2):
        front, path = open_guarded(mount), f"{mount}/api-keys/openai"
        front.write(path, {"key": "1"})
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
            f"A secret is created in {mount}/{mount}/: paths begin after {mount}/"
        ]
        caplog.clear()
        front.write(path, {"key": "2"})
        front.write("api-keys/openai", {"key": "1"})
        assert not caplog.records
        list(front.write_many([(f"{mount}/data/new", {"key": "1"})]))
        assert f"in {mount}/{mount}/data/: paths" in caplog.text
        caplog.clear()
    front.write_if(f"{kv2}/checked", {"key": "1"}, None)
    assert f"in {kv2}/{kv2}/: paths" in caplog.text


def test_checked_write_over_a_deleted_secret(openbao, open_guarded, kv2):
    """The server wants the deleted version's number, which expecting none stands for; no read is spent before."""
    front = open_guarded(kv2)
    front.write("app", {"k": "1"})
    front.delete("app")
    assert front.write_if("app", {"k": "2"}, None) == 2
    openbao.call("POST", f"{kv2}/destroy/app", {"versions": [2]})
    assert front.write_if("app", {"k": "3"}, None) == 3


def test_one_of_many_writers_gets_a_deleted_path(open_guarded, kv2):
    """The others are told of the conflict, and none that its data is invalid."""
    front = open_guarded(kv2)
    front.write("app", {"k": "1"})
    front.delete("app")
    barrier = threading.Barrier(8)

    def attempt(number):
        barrier.wait(60)
        try:
            return front.write_if("app", {"k": str(number)}, None)
        except ConflictError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert sorted(filter(None, pool.map(attempt, range(8)))) == [2]


def test_mount_that_requires_check_and_set_takes_plain_writes(openbao, open_guarded, kv2):
    """New, over a live secret, over a deleted one, and from several threads."""
    openbao.call("POST", f"{kv2}/config", {"cas_required": True})
    front = open_guarded(kv2)
    assert [front.write("app", {"k": "1"}), front.write("app", {"k": "2"})] == [1, 2]
    front.delete("app")
    assert front.write("app", {"k": "3"}) == 3
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda number: front.write("app", {"k": str(number)}), range(12)))
    assert sorted(versions) == list(range(4, 16))


def test_version_that_is_not_this_stores_is_a_conflict(open_guarded, kv2):
    """Nothing is written."""
    front = open_guarded(kv2)
    with pytest.raises(ConflictError):
        front.write_if("app", {"k": "v"}, "a-uuid")
    with pytest.raises(SecretNotFoundError):
        front.read("app")


def test_secret_that_somebody_wrote_as_null_is_one_without_a_key(openbao, open_guarded, kv2):
    """The engine takes it. It says nothing against the store, and can be written over, rolled back and deleted."""
    front = open_guarded(kv2)
    front.write("app", {"k": "1"})
    openbao.call("POST", f"{kv2}/data/app", {"data": None})
    assert [front.read("app").data, dict(front.read_many(["app"]))["app"].data] == [{}, {}]
    assert front.write_if("app", dict(front.read_version("app", 1).data), 2) == 3
    openbao.call("POST", f"{kv2}/data/app", {"data": None})
    openbao.call("POST", f"{kv2}/metadata/app", {"cas_required": True})
    assert front.write("app", {"k": "2"}) == 5
    openbao.call("POST", f"{kv2}/data/app", {"data": None, "options": {"cas": 5}})
    front.delete("app")
    with pytest.raises(SecretNotFoundError):
        front.read("app")


@pytest.mark.parametrize("levels", [70, 400, 600, 5000])
def test_secret_that_is_nested_too_deeply_is_invalid_data_and_no_outage(openbao, kv2, levels):
    """The engine takes it. It can be written over and deleted, and the rest of a batch is read."""
    front = GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=kv2), "vault")
    front.write("app", {"k": "v"})
    body = b'{"data":{"k":' + b"[" * levels + b"]" * levels + b"}}"
    for undo in (lambda: front.delete("deep"), lambda: front.write("deep", {"k": "v"})):
        headers = {"X-Vault-Token": openbao.token}
        url = f"{openbao.url}/v1/{kv2}/data/deep"
        assert urllib3.request("POST", url, body=body, headers=headers).status == 200
        with pytest.raises(InvalidDataError, match=r"deep .*nested too deeply"):
            front.read("deep")
        outcomes = dict(front.read_many(["deep", "app"]))
        assert {path: type(outcome) for path, outcome in outcomes.items()} == {"deep": InvalidDataError, "app": Secret}
        undo()
    front.close()


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, {"deep": [1, {"er": 10**30}]}])
@pytest.mark.parametrize("version", [1, 2])
def test_integer_that_would_change_is_refused(openbao, open_guarded, version, value):
    """It names the key and not the value."""
    front = open_guarded(openbao.fresh_mount(version=version))
    with pytest.raises(InvalidDataError, match=r"'pin'.*2\^53") as caught:
        front.write("app", {"pin": value})
    assert str(2**53 + 1) not in str(caught.value)
    front.write("app", {"pin": 2**53, "yes": True})
    assert dict(front.read("app").data) == {"pin": 2**53, "yes": True}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_every_finite_float_survives(open_guarded, kv2, numbers):
    """The engine writes 1.5e20 as an integer's digits, which are not its exact value."""
    front = open_guarded(kv2)
    front.write("numbers", {"list": numbers})
    assert list(front.read("numbers").data["list"]) == numbers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.text(string.printable.strip() + " ü🔑٪", min_size=1), min_size=1, max_size=4).map("/".join))
def test_every_name_that_is_a_path_is_its_own(open_guarded, kv2, path):
    """Percent signs, question marks and dots are sent as they are, once: no name is another's alias."""
    front = open_guarded(kv2)
    try:
        front.write(path, {"path": path})
    except InvalidPathError:
        return
    assert front.read(path).data["path"] == path
    folder, _, name = path.rpartition("/")
    assert name in set(front.list_entries(folder))


@pytest.mark.parametrize("path", [
    "../../sys/mounts", "app/../../../sys/mounts", "..", "app//db", "/app/db", "app/db/", "./app", "app\\db",
    "app/\x00",
])  # fmt: skip
def test_no_path_leads_out_of_the_mount_or_to_another_paths_secret(faulty, fault_server, stored, path):
    """To hvac each of these is another request's path. Here nothing is sent for any of them, in a batch neither."""
    front = faulty(stored(k="v"))
    with pytest.raises(InvalidPathError):
        front.read(path)
    with pytest.raises(InvalidPathError):
        front.write(path, {"k": "v"})
    with pytest.raises(InvalidPathError):
        front.write_if(path, {"k": "v"}, 1)
    for operation in (front.delete, front.versions, front.read_metadata):
        with pytest.raises(InvalidPathError):
            operation(path)
    for operation in (front.list_entries, front.walk):
        with pytest.raises(InvalidPathError):
            list(operation(f"{path}/"))
    assert [type(outcome) for _, outcome in front.read_many([path])] == [InvalidPathError]
    assert [type(outcome) for _, outcome in front.write_many([(path, {"k": "v"})])] == [InvalidPathError]
    assert fault_server.requests == []


@pytest.mark.parametrize("version", [1, 2])
def test_what_the_server_writes_otherwise_is_the_same_number(openbao, open_guarded, version):
    """OpenBao gives 1.0 back as 1 and -0.0 as 0 or -0. True stays what it is, and half a character is refused."""
    front = open_guarded(openbao.fresh_mount(version=version))
    front.write("app", {"one": 1.0, "zero": -0.0, "yes": True, "deep": [1.0, {"two": 2.0}]})
    data = front.read("app").data
    assert dict(data) == {"one": 1, "zero": 0, "yes": True, "deep": [1, {"two": 2}]}
    assert data["yes"] is True
    with pytest.raises(InvalidDataError):
        front.write("app", {"half": "\ud800"})


@pytest.mark.parametrize("path", ["a\u00a0b", "zero\u200bwidth", "\ufeffmark"])
def test_name_that_the_server_refuses_is_an_invalid_path(open_guarded, kv2, path):
    """It answers 400 to what does not print; nothing is sent."""
    front = open_guarded(kv2)
    for operation in (front.read, front.delete, lambda path: list(front.list_entries(path))):
        with pytest.raises(InvalidPathError, match="print"):
            operation(path)
    with pytest.raises(InvalidPathError, match="print"):
        front.write(path, {"k": "v"})


@pytest.mark.parametrize("filling", ["x", "é", "<", "\u2028", "\x01", '"'], ids=ascii)
@pytest.mark.parametrize("version", [1, 2])
def test_size_is_counted_as_the_server_stores_it(own_raft, version, filling):
    """What passes the check is stored by Raft; a little more is refused before it is sent. Raft's limit is 1 MiB."""
    mount = own_raft.fresh_mount(version=version)
    front = GuardedStore(open_vault(url=own_raft.url, token=own_raft.token, mount=mount), "vault")
    width = {"x": 1, "é": 2, "<": 6, "\u2028": 6, "\x01": 6, '"': 2}[filling]
    most = (1024 * 1024 - 512 - len('{"k":""}')) // width
    front.write("app", {"k": filling * most})
    assert front.read("app").data["k"] == filling * most
    with pytest.raises(SecretTooLargeError, match="the most is"):
        front.write("app", {"k": filling * (most + 1)})
    front.close()


@pytest.fixture(scope="module")
def own_raft(tmp_path_factory):
    from support.vault.recorded_vault import KeptVault

    with KeptVault(tmp_path_factory.mktemp("raft")) as server:
        yield server


# --- tokens and policies ----------------------------------------------------------------------------------------------


def test_denied_path_is_denied_without_any_other_right(open_guarded, kv2):
    """Nor with the right to look itself up, as the guide's policies are; and an absent path in reach is absent."""
    front = open_guarded(kv2, {f"{kv2}/data/mine/*": ["read"]})
    with pytest.raises(SecretNotFoundError):
        front.read("mine/app")
    for operation in (
        lambda: front.read("others/app"),
        lambda: front.write("mine/app", {"k": "v"}),
        lambda: front.delete("others/app"),
        lambda: list(front.list_entries("mine")),
    ):
        with pytest.raises(PermissionDeniedError, match="policies"):
            operation()
    assert front.probe().ok


@pytest.mark.parametrize("mount", ["auth/token", "sys/mounts"])
def test_what_is_no_key_value_engine_is_said_to_be_none(openbao, mount):
    """Also below its mount, where a prefix would be of no use."""
    with pytest.raises(ConfigurationError, match=f"mount '{mount}' .* is not a key-value engine"):
        open_vault(url=openbao.url, token=openbao.token, mount=mount)


def test_revoked_token_is_not_authenticated(openbao, kv2):
    """What was good at opening is found out at the first refusal."""
    token = openbao.issue_token({f"{kv2}/data/*": ["read"]})
    front = GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2), "vault")
    with pytest.raises(SecretNotFoundError):
        front.read("app")
    openbao.call("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(VaultAuthenticationError, match=r"^Failed to authenticate with Vault: app"):
        front.read("app")
    health = front.probe()
    assert not health.ok
    assert "token" in health.detail
    front.close()


def test_refusals_cost_no_use_of_the_token(openbao, kv2):
    """A token with a number of uses spends them on what it is for."""
    rules = openbao.write_policy({f"{kv2}/data/mine": ["read"]})
    grant = {"policies": [rules], "num_uses": 4, "no_default_policy": True}
    token = openbao.call("POST", "auth/token/create", grant)["auth"]["client_token"]
    openbao.put("mine", {"k": "v"}, mount=kv2)
    front = GuardedStore(open_vault(url=openbao.url, token=token, mount=kv2), "vault")
    with pytest.raises(PermissionDeniedError):
        front.read("other")
    assert [front.read("mine").data["k"] for _ in range(3)] == ["v"] * 3
    front.close()


def test_opening_with_a_bad_token_is_not_authenticated(openbao, kv2):
    """Known before the first read."""
    with pytest.raises(VaultAuthenticationError, match=r"^Failed to authenticate with Vault"):
        open_vault(url=openbao.url, token="s.wrong", mount=kv2)


def test_opening_a_mount_that_does_not_exist(openbao, open_guarded):
    """A token that sees everything is told so; another cannot know, and the message says both."""
    with pytest.raises(ConfigurationError, match="there is no mount 'absent'"):
        open_guarded("absent")
    with pytest.raises(PermissionDeniedError, match=r"no rights below mount 'absent'.*or there is no such mount"):
        open_guarded("absent", {"auth/token/lookup-self": ["read"]})


@pytest.mark.parametrize(("mount", "words"), [
    ("sys", "not a key-value engine"), ("{kv2}/data", "below the mount.*prefix"), ("auth/token", "."),
])  # fmt: skip
def test_opening_what_is_not_a_key_value_mount(open_guarded, kv2, mount, words):
    """The message says what to write instead."""
    with pytest.raises((ConfigurationError, PermissionDeniedError), match=words):
        open_guarded(mount.format(kv2=kv2))


def test_opening_in_a_namespace_that_does_not_exist(open_guarded, kv2):
    """A 404 of the wrong kind, as all such are."""
    with pytest.raises(ConfigurationError, match="namespace 'absent'"):
        open_guarded(kv2, namespace="absent")


def test_namespace_is_where_the_secrets_are(openbao, open_guarded):
    """The same mount and path in two namespaces are two secrets, and health is asked of the root."""
    openbao.call("POST", "sys/namespaces/team")
    openbao.call("POST", "team/sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
    front = open_guarded("kv", namespace="team/")
    front.write("app", {"k": "v"})
    assert openbao.call("GET", "team/kv/app")["data"] == {"k": "v"}
    assert front.probe().ok


def test_engine_that_changed_its_version_is_a_configuration_error(openbao, kv2):
    """A version 1 path on a version 2 mount answers 404 too."""
    front = GuardedStore(open_engine(1, url=openbao.url, token=openbao.token, mount=kv2), "vault")
    with pytest.raises(ConfigurationError):
        front.read("app")


def test_mount_that_was_disabled_is_a_configuration_error(openbao, open_guarded):
    """Its secrets are not absent: they are somewhere else, or gone with it."""
    mount = openbao.fresh_mount()
    front = open_guarded(mount)
    openbao.call("DELETE", f"sys/mounts/{mount}")
    with pytest.raises(ConfigurationError):
        front.read("app")


def test_health_has_the_version_and_what_is_left_of_the_token(openbao, open_guarded, kv2):
    """Seconds, where the token expires and may look itself up."""
    front = open_guarded(kv2, {f"{kv2}/data/*": ["read"], "auth/token/lookup-self": ["read"]})
    facts = front.probe().facts
    assert facts["version"]
    assert 3000 < int(facts["token_ttl"]) <= 3600
    assert "token_ttl" not in open_guarded(kv2).probe().facts


def test_sealed_server_is_not_well(own_openbao):
    """It answers, and says what it is."""
    front = GuardedStore(open_vault(url=own_openbao.url, token=own_openbao.token, mount="secret"), "vault")
    own_openbao.call("PUT", "sys/seal")
    health = front.probe()
    assert (health.ok, health.detail) == (False, "it is sealed")
    front.close()
