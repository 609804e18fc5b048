"""Secrets Manager: forms that are kept, deletion that can be taken back, batches, pages, versions, tags, keys."""

import json
import threading

import pytest

from strongroom import SecretsManager
from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
)
from strongroom.secret import Secret
from strongroom.store.one_value import FOLD
from strongroom_aws.plugin import open_secrets_manager
from support.services.aws import body_of

pytestmark = pytest.mark.long


def stored(aws, path="app"):
    """What AWS itself holds."""
    answer = aws.secrets.get_secret_value(SecretId=aws.name(path))
    return answer.get("SecretString", answer.get("SecretBinary"))


# --- one value as keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "new"),
    [
        ({"SecretString": "hunter2"}, "hunter3"),
        ({"SecretString": "[1, 2]"}, "[1, 2, 3]"),
        ({"SecretBinary": b"\xff\x00"}, b"\xff\x01"),
    ],
)
def test_plain_secret_is_one_key_and_stays_plain(aws, given, new):
    """It is read under `value`, and written as what it was: the application that reads it at AWS goes on reading it."""
    [content] = given.values()
    aws.secrets.create_secret(Name=aws.name("app"), **given)
    store = aws.open_secrets()
    secret = store.read("app")
    assert dict(secret.data) == {"value": content}
    assert secret.metadata == {FOLD: "text" if isinstance(content, str) else "binary"}
    store.write("app", secret.data)
    assert stored(aws) == content
    store.write("app", {"value": new})
    assert stored(aws) == new


def test_plain_secret_that_gets_more_keys_is_json(aws):
    aws.secrets.create_secret(Name=aws.name("app"), SecretString="hunter2")
    store = aws.open_secrets()
    store.write("app", {"value": "hunter2", "user": "app"})
    assert json.loads(stored(aws)) == {"value": "hunter2", "user": "app"}


def test_new_secret_is_json_unless_told_otherwise(aws):
    """`plain` makes text or binary of the single key `value`; `json` never does, whatever is there."""
    aws.open_secrets().write("app", {"value": "v"})
    assert stored(aws) == '{"value":"v"}'
    aws.open_secrets(fold="plain").write("app", {"value": "v"})
    assert stored(aws) == "v"
    aws.open_secrets(fold="plain").write("app", {"value": b"v"})
    assert stored(aws) == b"v"
    aws.open_secrets(fold="json").write("app", {"value": "v"})
    assert stored(aws) == '{"value":"v"}'


def test_form_that_is_known_goes_before_every_option(aws):
    """And before the one that the secret has. It is no tag."""
    for fold in ("keep", "plain", "json"):
        store = aws.open_secrets(fold=fold)
        for form, content in (({FOLD: "text"}, "v"), ({}, '{"value":"v"}'), ({FOLD: "text"}, "v")):
            store.write_formed("app", {"value": "v"}, form)
            assert stored(aws) == content
        assert store.read_metadata("app") == {}
        store.write_formed("app", {"value": "v", "k": 1}, {FOLD: "text"})
        assert dict(store.read("app").data) == {"value": "v", "k": 1}


def test_form_that_may_not_be_looked_at_is_not_guessed(aws):
    """Whoever may write and not read is told which right is missing, or which option says it."""
    aws.secrets.create_secret(Name=aws.name("app"), SecretString="hunter2")
    aws.refuse("GetSecretValue", "AccessDeniedException")
    with pytest.raises(PermissionDeniedError, match="option `fold`"):
        aws.open_secrets().write("app", {"value": "v"})
    assert stored(aws) == "hunter2"
    aws.open_secrets(fold="plain").write("app", {"value": "v"})
    assert stored(aws) == "v"
    aws.open_secrets().write("app", {"k": "v"})
    assert stored(aws) == '{"k":"v"}'


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_delete_can_be_taken_back(aws):
    """For thirty days, or for as many as are configured; no delete is ever final without the option."""
    for days, options in ((30, {}), (7, {"recovery_days": 7})):
        store = aws.open_secrets(**options)
        version = store.write(f"app{days}", {"k": "v"})
        aws.forget()
        store.delete(f"app{days}")
        [request] = [one for one, name in zip(aws.proxy.requests, aws.asked, strict=True) if name == "DeleteSecret"]
        assert body_of(request) == {"SecretId": aws.name(f"app{days}"), "RecoveryWindowInDays": days}
        with pytest.raises(SecretNotFoundError, match=r"scheduled for deletion\)\. Restore it with `undelete`"):
            store.read(f"app{days}")
        assert list(store.walk("")) == []
        store.undelete(f"app{days}", version)
        assert store.read(f"app{days}").version == version
        store.write(f"app{days}", {"k": "w"})
        aws.secrets.delete_secret(SecretId=aws.name(f"app{days}"), ForceDeleteWithoutRecovery=True)


@pytest.mark.parametrize("days", [0, 6, 31])
def test_window_is_checked_when_the_store_is_opened(aws, days):
    with pytest.raises(ConfigurationError, match="recovery_days"):
        aws.open_secrets(recovery_days=days)


def test_write_does_not_bring_back_what_is_scheduled_for_deletion(aws):
    """It is a conflict that says what to do; with the option it is restored first, its old versions too."""
    store = aws.open_secrets()
    store.write("app", {"k": "old"})
    store.delete("app")
    for data in ({"k": "new"}, {"value": "new"}):
        with pytest.raises(ConflictError, match="scheduled for deletion"):
            store.write("app", data)
    [(_, outcome)] = store.write_many([("app", {"k": "new"})])
    assert isinstance(outcome, ConflictError)
    with pytest.raises(SecretNotFoundError):
        store.delete("app")
    aws.open_secrets(restore=True).write("app", {"k": "new"})
    assert dict(store.read("app").data) == {"k": "new"}
    assert dict(store.read_version("app", "AWSPREVIOUS").data) == {"k": "old"}


def test_force_delete_is_final_and_needs_something_to_delete(aws):
    """AWS says yes to it for what never was, so that it is looked at first."""
    store = aws.open_secrets(force_delete=True)
    store.write("app", {"k": "v"})
    store.delete("app")
    for absent in ("app", "never"):
        with pytest.raises(SecretNotFoundError):
            store.delete(absent)
    with pytest.raises(SecretNotFoundError):
        aws.open_secrets().versions("app")
    aws.open_secrets().write("later", {"k": "v"})
    aws.open_secrets().delete("later")
    with pytest.raises(SecretNotFoundError, match="scheduled for deletion"):
        store.delete("later")


def test_refused_request_is_no_absence_when_nothing_is_scheduled(aws):
    """The code of a secret that is scheduled for deletion is that of other refusals too."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.refuse("GetSecretValue", "InvalidRequestException")
    with pytest.raises(StoreError, match="AWS refused the request") as caught:
        store.read("app")
    assert not isinstance(caught.value, SecretNotFoundError)
    aws.refuse("DescribeSecret", "AccessDeniedException")
    with pytest.raises(PermissionDeniedError):
        store.read("app")


# --- writing ----------------------------------------------------------------------------------------------------------


def test_write_whose_answer_is_lost_makes_one_version(aws):
    """The request is repeated under the same token, which is the version's id."""
    from support.vault import faults

    store = aws.open_secrets()
    store.write("app", {"k": "0"})
    aws.fault("PutSecretValue", faults.reset(forward=True), times=1)
    aws.forget()
    version = store.write("app", {"k": "1"})
    assert aws.asked == ["PutSecretValue", "PutSecretValue"]
    assert len({body_of(request)["ClientRequestToken"] for request in aws.proxy.requests}) == 1
    assert [info.version for info in store.versions("app")][1:] == [version]


def test_two_writers_of_a_new_secret_both_succeed(aws):
    """One makes it; the other finds it made, and adds a version."""
    store = aws.open_secrets()

    def made_meanwhile(exchange):
        aws.secrets.create_secret(Name=aws.name("app"), SecretString='{"k":"theirs"}')
        exchange.send(exchange.forward())

    aws.fault("CreateSecret", made_meanwhile, times=1)
    store.write("app", {"k": "ours"})
    assert dict(store.read("app").data) == {"k": "ours"}
    assert dict(store.read_version("app", "AWSPREVIOUS").data) == {"k": "theirs"}


def test_new_secret_has_the_key_and_what_exists_keeps_its_own(aws):
    """The key is for what is made; tags, policy and key of what exists are not touched."""
    store = aws.open_secrets(kms_key="alias/billing")
    store.write("new", {"k": "v"})
    assert aws.secrets.describe_secret(SecretId=aws.name("new"))["KmsKeyId"] == "alias/billing"
    aws.secrets.create_secret(
        Name=aws.name("old"), SecretString="{}", KmsKeyId="alias/theirs", Tags=[{"Key": "owner", "Value": "them"}]
    )
    store.write("old", {"k": "v"})
    described = aws.secrets.describe_secret(SecretId=aws.name("old"))
    assert described["KmsKeyId"] == "alias/theirs"
    assert described["Tags"] == [{"Key": "owner", "Value": "them"}]


# --- many -------------------------------------------------------------------------------------------------------------


def test_batch_takes_twenty_a_request_with_an_outcome_for_each(aws):
    """42 paths are three requests; what is absent, scheduled for deletion or of no legal name has its own error."""
    store = aws.open_secrets()
    paths = [f"app{number}" for number in range(39)]
    assert all(isinstance(outcome, str) for _, outcome in store.write_many((path, {"k": path}) for path in paths))
    store.write("going", {"k": "v"})
    store.delete("going")
    aws.forget()
    outcomes = dict(GuardedStore(store, "aws").read_many([*paths, "absent", "going", "two words"]))
    assert aws.asked.count("BatchGetSecretValue") == 3
    assert all(dict(outcomes.pop(path).data) == {"k": path} for path in paths)
    assert {path: type(error) for path, error in outcomes.items() if path != "two words"} == {
        "absent": SecretNotFoundError,
        "going": SecretNotFoundError,
    }
    assert "scheduled for deletion" in str(outcomes["going"])
    assert "accepts only letters" in str(outcomes["two words"])


def test_batch_tells_denied_from_absent(aws):
    """Each item of a batch has an error code of its own, in a reply that says 200."""
    body = {
        "SecretValues": [],
        "Errors": [
            {"SecretId": aws.name("a"), "ErrorCode": "AccessDeniedException", "Message": "x"},
            {"SecretId": aws.name("b"), "ErrorCode": "ResourceNotFoundException", "Message": "x"},
            {"SecretId": aws.name("c"), "ErrorCode": "DecryptionFailure", "Message": "x"},
            {"SecretId": aws.name("d"), "ErrorCode": "InternalServiceError", "Message": "x"},
        ],
    }
    aws.answer("BatchGetSecretValue", 200, body)
    outcomes = {path: type(outcome) for path, outcome in aws.open_secrets().read_many("abcd")}
    assert outcomes == {
        "a": PermissionDeniedError,
        "b": SecretNotFoundError,
        "c": PermissionDeniedError,
        "d": StoreUnavailableError,
    }


def test_what_a_batch_leaves_out_is_read_by_itself(aws):
    """A reply that says nothing of an item says nothing about it."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.answer("BatchGetSecretValue", 200, {"SecretValues": [], "Errors": []})
    outcomes = dict(store.read_many(["app", "absent"]))
    assert isinstance(outcomes["app"], Secret)
    assert isinstance(outcomes["absent"], SecretNotFoundError)


def test_denied_batch_is_read_one_by_one(aws):
    """BatchGetSecretValue is a right of its own, which many a policy does not give."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.refuse("BatchGetSecretValue", "AccessDeniedException")
    outcomes = dict(store.read_many(["app", "absent"]))
    assert isinstance(outcomes["app"], Secret)
    assert isinstance(outcomes["absent"], SecretNotFoundError)


def test_failed_batch_fails_each_of_its_own(aws):
    aws.refuse("BatchGetSecretValue", "ThrottlingException")
    outcomes = dict(aws.open_secrets().read_many(["a", "b"]))
    assert {path: (type(error), error.path) for path, error in outcomes.items()} == {
        "a": (StoreUnavailableError, "a"),
        "b": (StoreUnavailableError, "b"),
    }


@pytest.mark.parametrize("count", [100, 101])
def test_listing_is_complete_in_as_few_requests_as_there_are_pages(aws, count):
    store = aws.open_secrets()
    names = {f"app/{number:03}" for number in range(count)}
    assert all(isinstance(outcome, str) for _, outcome in store.write_many((name, {"k": "v"}) for name in names))
    aws.forget()
    found = list(store.walk("app"))
    assert (len(found), set(found)) == (count, names)
    assert aws.asked == ["ListSecrets"] * (count // 100 + (count % 100 > 0))


def test_empty_page_with_more_to_come_is_not_the_end(aws):
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    aws.answer("ListSecrets", 200, {"SecretList": [{"Name": aws.name("first")}], "NextToken": "0"}, times=1)
    aws.answer("ListSecrets", 200, {"SecretList": [], "NextToken": "1"}, times=1)
    assert list(store.walk("")) == ["first", "app"]


def test_listing_leaves_out_what_is_beside_the_prefix_alone(aws):
    """AWS's names take slashes anywhere: one that is no path cannot be read, and is listed as it is."""
    store = aws.open_secrets(prefix=f"{aws.prefix}/p")
    for name in ("p/a", "p/b/c", "px/d", "p//e", "p/f/", "p/", "P/g"):
        aws.secrets.create_secret(Name=aws.name(name), SecretString="v")
    front = GuardedStore(store, "aws")
    assert sorted(front.walk()) == sorted(path for path, _ in front.walk_labels()) == ["", "/e", "a", "b/c", "f/"]
    assert sorted(front.list_entries()) == ["", "/", "a", "b/", "f/"]
    assert {type(path) for path in front.walk()} == {str}  # as a message shows it
    outcomes = dict(front.read_many(front.walk()))
    refused = {path for path, outcome in outcomes.items() if isinstance(outcome, InvalidPathError)}
    assert (len(outcomes), refused) == (5, {"", "/e", "f/"})
    for path in refused:
        with pytest.raises(InvalidPathError):
            front.read(path)


def test_listing_leaves_out_what_the_filter_lets_through(aws):
    """Whatever AWS takes for a match."""
    names = [aws.name("app/a"), aws.name("apple/b"), "elsewhere", aws.name("APP/c"), aws.name("app")]
    aws.answer("ListSecrets", 200, {"SecretList": [{"Name": name} for name in names]})
    assert list(aws.open_secrets().walk("app")) == ["app/a"]


def test_store_without_a_prefix_sees_all(aws):
    store = open_secrets_manager()
    store.write(aws.name("app"), {"k": "v"})
    assert aws.name("app") in set(store.walk(""))
    assert dict(store.read(aws.name("app")).data) == {"k": "v"}


# --- versions and labels ----------------------------------------------------------------------------------------------


def test_version_is_read_by_its_staging_label(aws):
    """AWS's own labels, and one's own."""
    store = aws.open_secrets()
    first = store.write("app", {"k": "1"})
    store.write("app", {"k": "2"})
    front = GuardedStore(store, "aws")
    assert dict(front.read_version("app", "AWSPREVIOUS").data) == {"k": "1"}
    assert dict(front.read_version("app", "AWSCURRENT").data) == {"k": "2"}
    aws.secrets.update_secret_version_stage(SecretId=aws.name("app"), VersionStage="blue", MoveToVersionId=first)
    assert dict(front.read_version("app", "blue").data) == {"k": "1"}
    with pytest.raises(SecretNotFoundError):
        front.read_version("app", "green")


def test_history_is_oldest_first_and_whole(aws):
    """AWS names them in no order, on pages, with the time in whole seconds."""
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    entries = [("e" * 32, 30, ["AWSCURRENT"]), ("a" * 32, 10, []), ("d" * 32, 30, ["AWSPREVIOUS"]), ("b" * 32, 20, [])]
    page = [
        {"VersionId": version, "CreatedDate": created, "VersionStages": stages} for version, created, stages in entries
    ]
    aws.answer("ListSecretVersionIds", 200, {"Versions": page[2:]}, times=1)
    aws.answer("ListSecretVersionIds", 200, {"Versions": page[:2], "NextToken": "1"}, times=1)
    versions = store.versions("app")
    assert [info.version[0] for info in versions] == ["a", "b", "d", "e"]
    assert all(info.created.tzinfo is not None for info in versions)


def test_who_deletes_for_good_is_asked_first(aws):
    """Where AWS keeps what is deleted nobody need be; with `force_delete` there are no versions to count on."""
    assert "versioned" in GuardedStore(aws.open_secrets(), "aws").capabilities
    forced = GuardedStore(aws.open_secrets(force_delete=True), "aws").capabilities
    assert not forced & {"versioned", "recoverable"}


def test_tags_of_others_are_left_alone(aws):
    """AWS's own always; with `tag_prefix`, all that does not begin with it."""
    tags = [{"Key": "cost", "Value": "1"}, {"Key": "strongroom/owner", "Value": "them"}]
    aws.secrets.create_secret(Name=aws.name("app"), SecretString="v", Tags=tags)
    store = aws.open_secrets(tag_prefix="strongroom/")
    assert store.read_metadata("app") == {"owner": "them"}
    store.write_metadata("app", {"tier": "1"})
    assert {tag["Key"]: tag["Value"] for tag in aws.secrets.describe_secret(SecretId=aws.name("app"))["Tags"]} == {
        "cost": "1",
        "strongroom/tier": "1",
    }
    aws.answer("DescribeSecret", 200, {"Name": aws.name("app"), "Tags": [{"Key": "aws:stack", "Value": "s"}]})
    whole = aws.open_secrets()
    assert whole.read_metadata("app") == {}
    aws.forget()
    whole.write_metadata("app", {})
    assert aws.asked == ["DescribeSecret"]


def test_equal_labels_change_nothing(aws):
    store = aws.open_secrets()
    store.write("app", {"k": "v"})
    store.write_metadata("app", {"owner": "billing"})
    aws.forget()
    store.write_metadata("app", {"owner": "billing"})
    assert aws.asked == ["DescribeSecret"]


def test_threads_share_one_client(aws, clients):
    """Eight threads that are the first to use it make one client, and get their own answers."""
    store = aws.open_secrets()
    for number in range(8):
        store.write(f"app{number}", {"k": str(number)})
    store.close()
    clients.clear()
    barrier, wrong = threading.Barrier(8), []

    def read(number):
        barrier.wait(30)
        wrong.extend(1 for _ in range(5) if store.read(f"app{number}").data["k"] != str(number))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert len(clients) == 1


def test_batch_that_is_given_up_asks_no_more(aws):
    """Whoever stops taking results waits for what is under way, and for nothing else."""
    store = aws.open_secrets()
    aws.forget()
    outcomes = store.read_many(f"app{number}" for number in range(10_000))
    next(outcomes)
    outcomes.close()
    assert aws.asked.count("BatchGetSecretValue") <= 17


def test_the_pending_version_is_read_while_a_rotation_is_under_way(aws):
    """Until the rotation moves AWSCURRENT to it."""
    store = aws.open_secrets()
    store.write("app", {"password": "old"})
    with SecretsManager(chain=[store]) as secrets:
        assert secrets.versions.pending("app") is None
        aws.secrets.put_secret_value(
            SecretId=aws.name("app"), SecretString='{"password": "new"}', VersionStages=["AWSPENDING"]
        )
        assert dict(secrets.versions.pending("app").data) == {"password": "new"}
        assert secrets.get_secret("app", "password") == "old"


def test_pending_version_is_accepted_when_it_is_promoted_and_the_old_one_stays(aws):
    """AWS lists a pending version as the newest before AWSCURRENT moves to it."""
    store = aws.open_secrets()
    old = store.write("app", {"key": "old"})
    with SecretsManager(chain=[store]) as secrets:
        pending = aws.secrets.put_secret_value(
            SecretId=aws.name("app"), SecretString='{"key": "new"}', VersionStages=["AWSPENDING"]
        )["VersionId"]
        assert secrets.get_accepted("app", "key", grace="1h", fresh=True) == ["old"]
        aws.secrets.update_secret_version_stage(
            SecretId=aws.name("app"), VersionStage="AWSCURRENT", MoveToVersionId=pending, RemoveFromVersionId=old
        )
        assert secrets.get_accepted("app", "key", grace="1h", fresh=True) == ["new", "old"]
