"""AWS as the source and the target of migrations: the plan says what AWS would refuse, and an undo gives it back.

`tests/integration/test_migrate_pairs.py` moves the hard values there and back.
"""

import json

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConflictError,
    InvalidPathError,
    MigrationError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretTooLargeError,
)
from strongroom.migrate import ItemState, OnConflict, PlannedState, Selection
from strongroom.migrate._execution.drift import Drift, drift
from strongroom.migrate.sources import StoreSource
from strongroom.secrets_manager import SecretsManager
from strongroom.store.memory import MemoryStore
from strongroom.store.one_value import FOLD
from strongroom_vault.plugin import open_vault
from support.scenarios.migrations import apply, delete_source, plan, resume, undo, verify
from support.services.aws import body_of, operation_of
from support.vault.faults import reply

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def moved(source, target, tmp_path):
    """Plans, applies and verifies; what the target's paths then hold."""
    ends = {"source": source, "target": target}
    planned = plan("source", "target", stores=ends, state_folder=tmp_path / "home")
    assert {item.state for item in planned.items} == {PlannedState.CREATE}, [item.reason for item in planned.items]
    run = apply(planned, stores=ends, state_folder=tmp_path / "home").run
    report = verify(run, stores=ends, state_folder=tmp_path / "home")
    assert report is not None
    return {path: target.read(path).data for path in target.walk()}


def test_what_was_undone_is_applied_again(aws, tmp_path):
    """A deleted secret is kept for some days, and refuses to be made anew: it is brought back, and undone once more."""
    ends = {"source": MemoryStore(), "target": GuardedStore(aws.open_secrets(), "aws")}
    for path in ("new", "theirs"):
        ends["source"].write(path, {"a": "1"})
    options = {"stores": ends, "state_folder": tmp_path / "home"}
    made = plan("source", "target", **options)
    apply(made, **options)
    for _ in range(2):
        assert undo(**options).count(ItemState.DONE) == 2
        assert apply(made, **options).count(ItemState.DONE) == 2
        assert verify(**options).ok
        assert {path: ends["target"].read(path).data for path in ("new", "theirs")} == {
            "new": {"a": "1"},
            "theirs": {"a": "1"},
        }
    undo(**options)
    aws.secrets.restore_secret(SecretId=aws.name("theirs"))
    aws.secrets.put_secret_value(SecretId=aws.name("theirs"), SecretString='{"a": "theirs"}')
    aws.secrets.delete_secret(SecretId=aws.name("theirs"))
    with pytest.raises(MigrationError, match="conflict 1"):
        apply(made, **options)
    assert ends["target"].read("new").data == {"a": "1"}


@pytest.mark.parametrize("goes_on", [True, False])
def test_parameters_that_are_half_written_are_resumed_and_undone(aws, tmp_path, goes_on):
    """One key of three was refused, of a secret that was there and of a new one."""
    ends = {"source": MemoryStore(), "target": GuardedStore(aws.open_parameters(), "aws")}
    for path in ("new", "there"):
        ends["source"].write(path, {"a": "1", "b": "2", "c": "3"})
    ends["target"].write("there", {"a": "0", "own": "5"})
    options = {"stores": ends, "state_folder": tmp_path / "home"}
    made = plan("source", "target", on_conflict=OnConflict.OVERWRITE, **options)
    refused = reply(400, {"__type": "AccessDeniedException"}, ["Content-Type: application/x-amz-json-1.1"])
    last = lambda request: operation_of(request) == "PutParameter" and body_of(request)["Name"].endswith("/b")  # noqa: E731
    aws.proxy.inject(lambda exchange: exchange.send(refused), when=last)
    with pytest.raises(MigrationError, match="failed 2"):
        apply(made, **options)
    aws.proxy.heal()
    assert ends["target"].read("new").data == {"a": "1", "c": "3"}
    if goes_on:
        assert resume(**options).ok
        assert ends["target"].read("there").data == {"a": "1", "b": "2", "c": "3", "own": "5"}
    assert undo(**options).ok
    assert ends["target"].read("there").data == {"a": "0", "own": "5"}
    with pytest.raises(SecretNotFoundError):
        ends["target"].read("new")


@pytest.mark.parametrize("kind", ["secretsmanager", "ssm secrets"])
def test_labels_go_there_and_back_as_tags(aws, openbao, tmp_path, kind):
    """Vault → AWS → Vault: also of a secret that is one text, whose form is a label of ours."""
    mounts = [openbao.fresh_mount(version=2) for _ in range(2)]
    first, last = (
        GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=mount), "vault") for mount in mounts
    )
    how = {"restore": True} if kind == "secretsmanager" else {"layout": "secrets"}
    opener = aws.open_secrets if kind == "secretsmanager" else aws.open_parameters
    there = GuardedStore(opener(fold="plain", **how), "aws")
    held = {"one": {"value": "text"}, "several": {"a": 1, "b": 2}, "without": {"k": 1}}
    labels = {"one": {"owner": "billing", "empty": "x y"}, "several": {"owner": "Zahlungen"}, "without": {}}
    for path, data in held.items():
        first.write(path, data)
        first.write_metadata(path, labels[path])
    there.write("several", {"a": 1})
    there.write_metadata("several", {"own": "kept"})
    for source, target, name in ((first, there, "there"), (there, last, "back")):
        ends, home = {"source": source, "target": target}, tmp_path / name
        made = plan("source", "target", stores=ends, state_folder=home)
        own = {"own": "kept"} if target is there else {}
        form = {FOLD: "text"} if target is last else {}
        for again in (True, False):
            assert apply(made, stores=ends, state_folder=home).ok
            carried = {path: dict(target.read_metadata(path)) for path in held}
            several = {"own": "kept", "owner": "Zahlungen"}
            assert carried == {**labels, "one": {**labels["one"], **form}, "several": several}
            assert verify(stores=ends, state_folder=home).ok
            if again:
                assert undo(stores=ends, state_folder=home).ok
                assert target.read_metadata("several") == own
                with pytest.raises(SecretNotFoundError):
                    target.read("one")
    for front in (first, last, there):
        front.close()


def contents(aws, kind, prefix, names):
    """What AWS itself says that it holds under these names: text, or binary."""
    found = {}
    for name in names:
        whole = f"{aws.prefix}/{prefix}/{name}"
        if kind == "secretsmanager":
            answer = aws.secrets.get_secret_value(SecretId=whole)
            found[name] = answer.get("SecretString", answer.get("SecretBinary"))
        else:
            found[name] = aws.ssm.get_parameter(Name=f"/{whole}", WithDecryption=True)["Parameter"]["Value"]
    return found


@pytest.mark.parametrize("kind", ["secretsmanager", "ssm secrets"])
def test_what_others_wrote_comes_back_as_they_wrote_it(aws, openbao, kv2, tmp_path, kind):
    """AWS → Vault → AWS: text is text, a binary a binary, and JSON of one key stays JSON. So it is when undone."""
    opener, layout = aws.open_parameters, {"layout": "secrets"}
    if kind == "secretsmanager":
        opener, layout = aws.open_secrets, {}
    first, last = (GuardedStore(opener(prefix=f"{aws.prefix}/{name}", **layout), "aws") for name in ("first", "last"))
    held = {"text": "hunter2", "json": '{"value":"v"}', "keys": '{"a":1}', "odd": '{"a":1,"a":2}'}
    for name, text in held.items():
        if kind == "secretsmanager":
            aws.secrets.create_secret(Name=f"{aws.prefix}/first/{name}", SecretString=text)
        else:
            aws.ssm.put_parameter(Name=f"/{aws.prefix}/first/{name}", Value=text, Type="SecureString")
    if kind == "secretsmanager":
        held["binary"] = b"\x00\xff"
        aws.secrets.create_secret(Name=f"{aws.prefix}/first/binary", SecretBinary=held["binary"])
    vault = GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=kv2), "vault")
    for source, target, name in ((first, vault, "there"), (vault, last, "back")):
        moved(source, target, tmp_path / name)
    assert contents(aws, kind, "first", held) == contents(aws, kind, "last", held) == held
    assert {path: dict(last.read_metadata(path)) for path in held} == {path: {} for path in held}
    ends, home = {"source": MemoryStore(), "target": last}, tmp_path / "other"
    for path in held:
        ends["source"].write(path, {"another": 1})
    made = plan("source", "target", stores=ends, state_folder=home)
    assert apply(made, stores=ends, state_folder=home).ok
    assert contents(aws, kind, "last", held) != held
    assert undo(stores=ends, state_folder=home).ok
    assert contents(aws, kind, "last", held) == held
    vault.close()


@pytest.mark.parametrize("kind", ["secretsmanager", "ssm secrets"])
def test_labels_that_are_no_tags_are_said_in_the_plan(aws, tmp_path, kind):
    """And stay behind; what can be a tag goes along."""
    source = MemoryStore()
    source.write("app", {"k": 1})
    source.write_metadata("app", {"owner": "billing", "note": "(old)", "aws:x": "1", "n#": "1"})
    target = aws.open_secrets() if kind == "secretsmanager" else aws.open_parameters("secrets")
    ends = {"source": source, "target": target}
    made = plan("source", "target", stores=ends, state_folder=tmp_path)
    assert made.items[0].cautions[-1] == "labels, which the target refuses: note, aws:x, n#"
    assert apply(made, stores=ends, state_folder=tmp_path).ok
    assert target.read_metadata("app") == {"owner": "billing"}


def test_tags_are_listed_and_asked_for_only_where_there_are_some(aws, tmp_path):
    """A secret without tags takes no request more than before there were labels in migrations."""
    store, target = aws.open_secrets(), MemoryStore()
    for number in range(3):
        store.write(f"s{number}", {"k": number})
    ends = {"source": store, "target": target}

    def moved_with():
        aws.forget()
        made = plan("source", "target", stores=ends, state_folder=tmp_path)
        planned = list(aws.asked)
        aws.forget()
        apply(made, stores=ends, state_folder=tmp_path)
        return planned, list(aws.asked)

    planned, applied = moved_with()
    assert planned.count("ListSecrets") == 1
    assert planned.count("DescribeSecret") == 3  # what a copy would lack
    assert applied == ["BatchGetSecretValue"]
    store.write_metadata("s1", {"owner": "billing"})
    planned, applied = moved_with()
    assert (planned.count("ListSecrets"), planned.count("DescribeSecret")) == (1, 3)
    assert applied == ["BatchGetSecretValue", "DescribeSecret"]
    assert target.read_metadata("s1") == {"owner": "billing"}


def test_denied_tags_fail_nothing(aws, tmp_path):
    source, target = MemoryStore(), aws.open_secrets()
    source.write("a", {"k": 1})
    source.write_metadata("a", {"owner": "billing"})
    ends = {"source": source, "target": target}
    made = plan("source", "target", stores=ends, state_folder=tmp_path)
    aws.refuse("TagResource", "AccessDeniedException")
    report = apply(made, stores=ends, state_folder=tmp_path)
    assert "labels not copied" in report.results[0].reason
    assert verify(stores=ends, state_folder=tmp_path).ok
    assert target.read_metadata("a") == {}


def test_location_is_the_prefix(aws):
    """`aws-secretsmanager:PREFIX` and `aws-ssm:/PREFIX` on a command line."""
    aws.secrets.create_secret(Name=aws.name("app"), SecretString="hunter2")
    aws.ssm.put_parameter(Name=f"/{aws.name('db/password')}", Value="p", Type="SecureString")
    stores = {"memory": MemoryStore()}
    planned = plan([f"aws-secretsmanager:{aws.prefix}", f"aws-ssm:/{aws.prefix}"], "memory", stores=stores)
    assert sorted(item.path for item in planned.items) == ["app", "db"]
    assert {item.state for item in planned.items} == {PlannedState.CREATE}


def test_plan_says_what_aws_would_refuse(aws):
    """Too large, an illegal name, scheduled for deletion: known without a write."""
    target = aws.open_secrets()
    target.write("going", {"k": "v"})
    target.delete("going")
    source = MemoryStore()
    for path, data in {
        "going": {"k": "v"},
        "large": {"k": "x" * 65_536},
        "two words": {"k": "v"},
        "fine": {"k": "v"},
    }.items():
        source.write(path, data)
    aws.forget()
    planned = plan("memory", "aws", stores={"memory": source, "aws": target})
    states = {item.path: item.state for item in planned.items}
    assert states.pop("fine") is PlannedState.CREATE
    assert set(states.values()) == {PlannedState.IMPOSSIBLE}
    assert not [name for name in aws.asked if name.startswith(("Put", "Create", "Restore"))]
    for path, data, kind in (
        ("going", {"k": "v"}, ConflictError),
        ("large", {"k": "x" * 65_536}, SecretTooLargeError),
        ("two words", {"k": "v"}, InvalidPathError),
    ):
        with pytest.raises(kind):
            target.vet(path, data)
    aws.open_secrets(restore=True).vet("going", {"k": "v"})
    aws.refuse("DescribeSecret", "AccessDeniedException")
    target.vet("going", {"k": "v"})


def test_name_that_is_no_path_is_in_the_plan(aws, tmp_path):
    """It cannot go along, which is said: nothing stays behind without a word. The others go."""
    source = GuardedStore(aws.open_secrets(), "aws")
    odd = ["/app/db", "app//db", "app/db/", "app/../db"]
    for path in [*odd, "app/db"]:
        aws.secrets.create_secret(Name=aws.name(path), SecretString='{"k":"v"}')
    ends = {"source": source, "target": GuardedStore(MemoryStore(), "memory")}
    planned = plan("source", "target", stores=ends, state_folder=tmp_path)
    states = {item.source_path: item.state for item in planned.items}
    assert states == {**dict.fromkeys(odd, PlannedState.IMPOSSIBLE), "app/db": PlannedState.CREATE}
    assert all(item.reason for item in planned.items if item.source_path in odd)
    with pytest.raises(MigrationError) as caught:
        apply(planned, stores=ends, state_folder=tmp_path)
    assert caught.value.report.count(ItemState.FAILED) == len(odd)
    differences = {
        one.path: one.state for one in drift(*(StoreSource(end, name) for name, end in ends.items()), Selection())
    }
    assert differences == {**dict.fromkeys(odd, Drift.UNKNOWN), "app/db": Drift.SAME}
    with SecretsManager(chain=[aws.open_secrets()]) as secrets:
        batch = secrets.preload()
        assert (list(batch), set(batch.errors)) == (["app/db"], set(odd))


@pytest.mark.parametrize("layout", ["keys", "secrets"])
def test_plan_says_what_parameter_store_would_refuse(aws, layout):
    target = aws.open_parameters(layout)
    aws.forget()
    for path, data, kind in (
        ("app", {"k": "x" * 8_193}, SecretTooLargeError),
        ("two words", {"k": "v"}, InvalidPathError),
    ):
        with pytest.raises(kind):
            target.vet(path, data)
    assert aws.asked == []
    target.vet("app", {"k": "v"})
    assert not [name for name in aws.asked if name.startswith(("Put", "Delete"))]


@pytest.mark.parametrize(
    ("layout", "name", "key"), [("keys", "app/k", "k"), ("keys", "app", "value"), ("secrets", "app", "k")]
)
def test_plan_says_what_is_no_secure_string(aws, tmp_path, layout, name, key):
    """Known before anything is written; also of a parameter to which a write would give the text that it has."""
    aws.ssm.put_parameter(Name=f"/{aws.name(name)}", Value="v", Type="String")
    target = aws.open_parameters(layout)
    ends = {"source": MemoryStore(), "target": target}
    for data in ({key: "w"}, {"more": "m"}):
        ends["source"].write("app", data)
        [item] = plan("source", "target", stores=ends, state_folder=tmp_path, on_conflict=OnConflict.OVERWRITE).items
        assert item.state is PlannedState.IMPOSSIBLE
        assert f"/{aws.name(name)} is not a SecureString" in item.reason
    assert not [name for name in aws.asked if name.startswith(("Put", "Delete"))]
    ends["source"].write("app", dict(target.read("app").data))
    [item] = plan("source", "target", stores=ends, state_folder=tmp_path).items
    assert item.state is PlannedState.EQUAL
    aws.refuse("DescribeParameters", "AccessDeniedException")
    aws.open_parameters(layout, kms_key="alias/ours").vet("app", {key: "w"})
    with pytest.raises(PermissionDeniedError, match="`kms_key`"):
        target.vet("app", {key: "w"})


def test_what_a_copy_would_lack_is_told(aws):
    """Rotation and an owning service, which make a copy stale; key, replicas and policy, which are not carried."""
    store = aws.open_secrets()
    store.write("plain", {"k": "v"})
    assert store.cautions("plain") == []
    aws.secrets.create_secret(Name=aws.name("app"), SecretString="{}", KmsKeyId="alias/theirs")
    policy = {"Version": "2012-10-17", "Statement": []}
    aws.secrets.put_resource_policy(SecretId=aws.name("app"), ResourcePolicy=json.dumps(policy))
    assert store.cautions("app") == ["its KMS key is not carried", "its resource policy is not carried"]
    described = {"RotationEnabled": True, "OwningService": "rds", "ReplicationStatus": [{"Region": "eu-west-2"}]}
    aws.answer("DescribeSecret", 200, described)
    aws.refuse("GetResourcePolicy", "AccessDeniedException")
    words = " ".join(store.cautions("plain"))
    for word in ("rotates", "rds owns it", "replicas", "GetResourcePolicy is denied"):
        assert word in words
    aws.refuse("DescribeSecret", "AccessDeniedException")
    assert store.cautions("plain") == ["its rotation and replication are unknown: DescribeSecret is denied"]


@pytest.mark.parametrize("more", [{}, {"more": "m"}])
def test_parameter_in_no_folder_stays_where_it_is(aws, tmp_path, more):
    """With its history and whoever else reads it there: when it is overwritten, and when that is undone."""
    name = f"/{aws.name('token')}"
    aws.ssm.put_parameter(Name=name, Value="old", Type="SecureString", KeyId="alias/theirs")
    ends = {"source": MemoryStore(), "target": aws.open_parameters()}
    ends["source"].write("token", {"value": "new", **more})
    made = plan("source", "target", stores=ends, state_folder=tmp_path, on_conflict=OnConflict.OVERWRITE)
    for action, value in (
        (lambda: apply(made, stores=ends, state_folder=tmp_path), "new"),
        (lambda: undo(stores=ends, state_folder=tmp_path), "old"),
    ):
        assert action().ok
        found = aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        assert (found["Value"], dict(ends["target"].read("token").data).get("value")) == (value, value)
        [described] = aws.ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"]
        assert described["KeyId"] == "alias/theirs"
    assert dict(ends["target"].read("token").data) == {"value": "old"}


@pytest.mark.parametrize(("layout", "name"), [("keys", "app/k"), ("keys", "app"), ("secrets", "app")])
def test_what_a_copy_of_a_parameter_would_lack_is_told(aws, layout, name):
    store = aws.open_parameters(layout)
    store.write("plain", {"k": "v"})
    assert store.cautions("plain") == []
    aws.ssm.put_parameter(Name=f"/{aws.name(name)}", Value="v", Type="SecureString", KeyId="alias/theirs")
    assert store.cautions("app") == ["its KMS key is not carried"]
    aws.refuse("DescribeParameters", "AccessDeniedException")
    assert "DescribeParameters is denied" in store.cautions("app")[0]


def test_deleting_at_a_source_that_is_the_target_gives_back_what_it_deleted(aws, tmp_path):
    """Scheduled for deletion, it would take no write: it is restored, with its versions."""
    store, other = aws.open_secrets(), aws.open_secrets()
    ends = {"source": GuardedStore(store, "source"), "target": GuardedStore(other, "target")}
    for number in (1, 2):
        ends["source"].write("app/one-place", {"k": number})
    before = [info.version for info in ends["target"].versions("app/one-place")]  # moto's times are those of the call
    planned = plan("source", "target", stores=ends, state_folder=tmp_path / "home")
    apply(planned, stores=ends, state_folder=tmp_path / "home")
    with pytest.raises(MigrationError, match="are one place"):
        delete_source(stores=ends, state_folder=tmp_path / "home")
    assert ends["target"].read("app/one-place").data == {"k": 2}
    after = ends["target"].versions("app/one-place")
    assert ([info.version for info in after], [info.deleted for info in after]) == (before, [False] * 2)
