"""Parameter Store: a parameter for each key or for each secret, always encrypted, with the key that it has."""

import json

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import (
    ConfigurationError,
    ConflictError,
    InvalidDataError,
    PermissionDeniedError,
    SecretNotFoundError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
)
from strongroom.secret import Secret
from strongroom.secrets_manager import SecretsManager
from strongroom.store import time_limit
from strongroom.store.one_value import FOLD
from support.services.aws import body_of, operation_of

pytestmark = pytest.mark.long


def put(aws, name, value, **options):
    aws.ssm.put_parameter(**{"Name": f"/{aws.name(name)}", "Value": value, "Type": "SecureString", **options})


def held(aws):
    """What Parameter Store holds below the test's prefix: name -> value."""
    pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(
        Path=f"/{aws.prefix}", Recursive=True, WithDecryption=True
    )
    start = len(aws.prefix) + 2
    return {one["Name"][start:]: one["Value"] for page in pages for one in page["Parameters"]}


def described(aws, name):
    [one] = aws.ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [f"/{aws.name(name)}"]}])[
        "Parameters"
    ]
    return one


# --- a parameter for each key -----------------------------------------------------------------------------------------


def test_what_other_tools_write_is_read_and_the_other_way_round(aws):
    """`/PREFIX/service/key`, as chamber and most people have it, of any type."""
    put(aws, "billing/db/password", "hunter2")
    put(aws, "billing/db/host", "db.internal")
    put(aws, "billing/db/replicas", "a,b", Type="StringList")
    put(aws, "billing/key", "k")
    store = aws.open_parameters()
    assert dict(store.read("billing/db").data) == {"password": "hunter2", "host": "db.internal", "replicas": "a,b"}
    assert dict(store.read("billing").data) == {"key": "k"}
    assert sorted(store.walk("")) == ["billing", "billing/db"]
    assert sorted(store.walk("billing")) == ["billing/db"]
    assert sorted(store.list_entries("")) == ["billing", "billing/"]
    store.write("billing/db", {"password": "new", "host": "db2"})
    assert held(aws) == {"billing/db/password": "new", "billing/db/host": "db2", "billing/key": "k"}
    assert described(aws, "billing/db/password")["Type"] == "SecureString"


def test_what_is_no_text_is_wrapped(aws):
    """So that its type comes back; text is never wrapped where it need not be."""
    store = aws.open_parameters()
    store.write("app", {"port": 5432, "text": "5432", "empty": "", "no": None, "reference": "{{ssm:x}}"})
    assert held(aws)["app/port"] == '{"strongroom:value":5432}'
    assert held(aws)["app/text"] == "5432"
    assert "{{" not in held(aws)["app/reference"]
    assert dict(store.read("app").data) == {
        "port": 5432, "text": "5432", "empty": "", "no": None, "reference": "{{ssm:x}}",
    }  # fmt: skip


def test_parameter_in_no_folder_is_a_secret_of_one_key(aws):
    """Under `value`, as in the store of files; a write of that key is one to this parameter."""
    put(aws, "token", "t")
    store = aws.open_parameters()
    assert dict(store.read("token").data) == {"value": "t"}
    assert list(store.walk("")) == ["token"]
    put(aws, "token/value", "u")
    with pytest.raises(InvalidDataError, match="are both its key 'value'"):
        store.read("token")
    store.write("token", {"value": "v"})
    assert held(aws) == {"token": "v"}
    store.write("token", {"value": 1, "more": "m"})
    assert held(aws) == {"token": '{"strongroom:value":1}', "token/more": "m"}
    assert dict(store.read("token").data) == {"value": 1, "more": "m"}
    assert list(store.walk("")) == ["token"]
    store.write("token", {"more": "m"})
    assert held(aws) == {"token/more": "m"}
    store.write("token", {"value": "v"})
    assert held(aws) == {"token/value": "v"}
    put(aws, "token", "t")
    store.delete("token")
    assert held(aws) == {}


def test_parameter_in_no_folder_is_that_of_its_own_name_alone(aws):
    """`a/b` is the key `b` of `a`, and no secret."""
    put(aws, "a/b", "v")
    with pytest.raises(SecretNotFoundError, match=f"directly below /{aws.prefix}/a/b"):
        aws.open_parameters().read("a/b")


@pytest.mark.parametrize("count", [10, 11, 25])
def test_secret_of_more_keys_than_a_page_is_read_and_deleted_whole(aws, count):
    store = aws.open_parameters()
    data = {f"key{number}": str(number) for number in range(count)}
    store.write("app", data)
    assert dict(store.read("app").data) == data
    aws.forget()
    store.delete("app")
    assert aws.asked.count("DeleteParameters") == -(-count // 10)
    assert held(aws) == {}


def test_empty_page_with_more_to_come_is_not_the_end(aws):
    """Parameter Store gives such pages."""
    store = aws.open_parameters()
    store.write("app", {"k": "v"})
    pages = [{"Parameters": [], "NextToken": "0"}, {"Parameters": [], "NextToken": "10"}]  # the last is given first
    for page in pages:
        aws.answer("GetParametersByPath", 200, page, times=1)
    assert list(store.walk("")) == ["app"]
    for page in pages:
        aws.answer("GetParametersByPath", 200, page, times=1)
    assert dict(store.read("app").data) == {"k": "v"}


def test_write_that_fails_half_way_says_so(aws):
    """And removes nothing."""
    store = aws.open_parameters()
    store.write("app", {"old": "v"})
    aws.refuse("PutParameter", "AccessDeniedException", times=1)
    with pytest.raises(PermissionDeniedError, match="1 of its 3 keys were not written"):
        store.write("app", {"a": "1", "b": "2", "c": "3"})
    assert held(aws).keys() > {"app/old"}


def test_delete_that_leaves_something_says_so(aws):
    store = aws.open_parameters()
    store.write("app", {"a": "1", "b": "2"})
    aws.answer("DeleteParameters", 200, {"DeletedParameters": [f"/{aws.name('app/a')}"], "InvalidParameters": []})
    with pytest.raises(StoreError, match="1 of its parameters were not deleted"):
        store.delete("app")


# --- a parameter for each secret --------------------------------------------------------------------------------------


def test_plain_parameter_is_one_key_and_stays_plain(aws):
    put(aws, "token", "hunter2")
    store = aws.open_parameters("secrets")
    secret = store.read("token")
    assert (dict(secret.data), secret.metadata) == ({"value": "hunter2"}, {FOLD: "text"})
    store.write("token", {"value": "hunter3"})
    assert held(aws) == {"token": "hunter3"}
    store.write("token", {"value": "{{ssm:x}}"})
    assert json.loads(held(aws)["token"]) == {"value": "{{ssm:x}}"}
    assert "{{" not in held(aws)["token"]
    assert dict(store.read("token").data) == {"value": "{{ssm:x}}"}
    aws.open_parameters("secrets", fold="plain").write("token", {"value": "v"})
    assert held(aws) == {"token": "v"}
    aws.open_parameters("secrets", fold="json").write("token", {"value": "v"})
    assert held(aws) == {"token": '{"value":"v"}'}


@pytest.mark.parametrize("layout", ["keys", "secrets"])
def test_a_reference_is_never_sent_and_comes_back_exactly(aws, layout):
    """AWS refuses a value that refers to another parameter, which moto does not: it is escaped in JSON."""
    references = ["{{ssm:x}}", "{{ a }} and {{b}}", "{{{", "\\{{", '{"strongroom:value":"{{x}}"}', '{"a":"{{x}}"}']
    store = aws.open_parameters(layout)
    for number, text in enumerate(references):
        for name, data in {"one": {"value": text}, "more": {"k": text, "n": [text]}}.items():
            store.write(f"{name}/{number}", data)
            assert dict(store.read(f"{name}/{number}").data) == data
    assert not [text for text in held(aws).values() if "{{" in text]
    assert not [request for request in aws.proxy.requests if b"{{" in request.body]


def test_history_has_numbers_and_labels(aws):
    """Versions can be read by either, and are named by their numbers."""
    store = aws.open_parameters("secrets")
    numbers = [store.write("app", {"k": str(number)}) for number in range(3)]
    assert numbers == [1, 2, 3]
    assert [info.version for info in store.versions("app")] == numbers
    front = GuardedStore(store, "aws")
    assert dict(front.read_version("app", 2).data) == {"k": "1"}
    aws.ssm.label_parameter_version(Name=f"/{aws.name('app')}", ParameterVersion=1, Labels=["stable"])
    assert dict(front.read_version("app", "stable").data) == {"k": "0"}
    aws.ssm.label_parameter_version(Name=f"/{aws.name('app')}", ParameterVersion=3, Labels=["stable"])
    assert dict(front.read_version("app", "stable").data) == {"k": "2"}
    for absent in (7, "unknown"):
        with pytest.raises(SecretNotFoundError):
            front.read_version("app", absent)
    for operation in (store.versions, lambda path: store.read_version(path, 1)):
        with pytest.raises(SecretNotFoundError):
            operation("absent")


def test_history_is_oldest_first_and_whole(aws):
    """On pages of fifty, some of them empty, each version with the time of its own, and no value decrypted for it."""
    store = aws.open_parameters("secrets")
    for number in range(60):
        put(aws, "app", f"canary-{number}", Overwrite=True)
    versions = store.versions("app")
    assert [info.version for info in versions] == list(range(1, 61))
    assert aws.asked == ["GetParameterHistory"] * 2
    assert not any(body_of(request)["WithDecryption"] for request in aws.proxy.requests)
    assert "canary" not in repr(versions)

    def page(*numbers, **more):
        entries = [{"Name": "a", "Value": "v", "Version": n, "LastModifiedDate": 1_000 + n} for n in numbers]
        aws.answer("GetParameterHistory", 200, {"Parameters": entries, **more}, times=1)

    page(2, 1)  # the last is given first
    page(NextToken="2")
    page(4, 3, NextToken="1")
    versions = store.versions("app")
    assert [(info.version, info.created.timestamp()) for info in versions] == [(n, 1_000 + n) for n in (1, 2, 3, 4)]
    assert all(info.created.tzinfo is not None and not info.deleted for info in versions)


@pytest.mark.parametrize("kind", ["SecureString", "String", "StringList"])
def test_version_is_folded_as_the_newest_is(aws, kind):
    """Text and JSON, of every type."""
    put(aws, "app", '{"a":1}', Type=kind)
    put(aws, "app", "a,b", Type=kind, Overwrite=True)
    store = aws.open_parameters("secrets")
    first, second = (store.read_version("app", info.version) for info in store.versions("app"))
    assert (dict(first.data), first.metadata, first.version) == ({"a": 1}, {}, 1)
    assert (dict(second.data), second.metadata, second.version) == ({"value": "a,b"}, {FOLD: "text"}, 2)
    assert first.created.tzinfo is not None
    assert second == store.read("app")


@pytest.mark.parametrize("absent", [0, -1, 10**18, "", "1:2", "2x", "a b", "a/b", "x" * 101, "aws-x", "SSMx", "١"])
def test_what_names_no_version_is_not_sent(aws, absent):
    """It would be a part of the parameter's name, which AWS reads in its own way."""
    store = aws.open_parameters("secrets")
    store.write("app", {"k": "v"})
    aws.forget()
    with pytest.raises(SecretNotFoundError, match="no version"):
        store.read_version("app", absent)
    assert aws.asked == []


def test_another_version_than_was_asked_for_is_no_answer(aws):
    store = aws.open_parameters("secrets")
    entry = {"Name": f"/{aws.name('app')}", "Value": "canary", "Version": 1}
    aws.answer("GetParameter", 200, {"Parameter": entry})
    assert store.read_version("app", 1).version == 1
    with pytest.raises(StoreUnavailableError) as caught:
        store.read_version("app", 2)
    assert "canary" not in str(caught.value)


def test_nothing_is_there_to_undelete_or_to_destroy(aws):
    """Parameter Store deletes versions all at once, and none alone; nor has it a check for a rollback."""
    store = aws.open_parameters("secrets")
    front = GuardedStore(store, "aws")
    for number in range(2):
        front.write("app", {"k": f"canary-{number}"})
    front.undelete("app", 1)
    with pytest.raises(UnsupportedOperationError, match="cannot destroy a single version") as caught:
        front.destroy("app", 1)
    assert "canary" not in f"{caught.value!r} {caught.value}"
    for operation in (front.undelete, front.destroy):
        with pytest.raises(SecretNotFoundError, match="version 3 does not exist"):
            operation("app", 3)
    with SecretsManager(chain=[store]) as secrets, pytest.raises(UnsupportedOperationError):
        secrets.versions.rollback("app", 1)
    assert [dict(store.read_version("app", number).data) for number in (1, 2)] == [
        {"k": "canary-0"},
        {"k": "canary-1"},
    ]


def test_delete_takes_all_versions_and_labels(aws):
    """So that whoever deletes is asked first, which a store that keeps versions need not do."""
    store = aws.open_parameters("secrets")
    assert GuardedStore(store, "aws").capabilities >= {"versioned", "final_deletes"}
    assert not GuardedStore(aws.open_parameters(), "aws").capabilities & {"versioned", "final_deletes"}
    store.write("app", {"k": "v"})
    store.write("app", {"k": "w"})
    store.write_metadata("app", {"owner": "billing"})
    store.delete("app")
    for operation in (store.versions, store.read_metadata, lambda path: store.undelete(path, 2)):
        with pytest.raises(SecretNotFoundError):
            operation("app")
    store.write("app", {"k": "x"})
    assert [info.version for info in store.versions("app")] == [1]
    assert store.read_metadata("app") == {}


def tags_of(aws, name):
    tags = aws.ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=f"/{aws.name(name)}")["TagList"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def test_tags_are_labels(aws):
    store = aws.open_parameters("secrets", tag_prefix="sr/")
    put(aws, "app", "v", Tags=[{"Key": "cost", "Value": "1"}])
    store.write_metadata("app", {"owner": "billing", "tier": "1"})
    store.write_metadata("app", {"owner": "payments"})
    assert store.read_metadata("app") == {"owner": "payments"}
    assert tags_of(aws, "app") == {"cost": "1", "sr/owner": "payments"}
    for operation in (store.read_metadata, lambda path: store.write_metadata(path, {"a": "b"})):
        with pytest.raises(SecretNotFoundError):
            operation("absent")


def test_form_that_is_known_goes_before_every_option(aws):
    """And before the one that the parameter has. It is no tag."""
    for fold in ("keep", "plain", "json"):
        store = aws.open_parameters("secrets", fold=fold)
        for form, content in (({FOLD: "text"}, "v"), ({}, '{"value":"v"}'), ({FOLD: "text"}, "v")):
            store.write_formed("app", {"value": "v"}, form)
            assert held(aws)["app"] == content
        assert store.read_metadata("app") == {}


def test_tags_of_aws_are_left_alone(aws):
    """And what is as it is to be takes no request that changes something."""
    store = aws.open_parameters("secrets")
    store.write("app", {"k": "v"})
    aws.answer(
        "ListTagsForResource", 200, {"TagList": [{"Key": "aws:stack", "Value": "s"}, {"Key": "a", "Value": "1"}]}
    )
    assert store.read_metadata("app") == {"a": "1"}
    aws.forget()
    store.write_metadata("app", {"a": "1"})
    assert aws.asked == ["ListTagsForResource"]
    store.write_metadata("app", {})
    [removed] = [body_of(one) for one in aws.proxy.requests if operation_of(one) == "RemoveTagsFromResource"]
    assert removed["TagKeys"] == ["a"]
    assert "AddTagsToResource" not in aws.asked


@pytest.mark.parametrize(
    "labels",
    [
        {"owner": "canary!"},
        {"owner": "canary" * 50},
        {"o#": "canary"},
        {"aws:x": "canary"},
        {f"n{number}": "canary" for number in range(51)},
    ],
)
def test_tags_have_the_limits_that_aws_sets(aws, labels):
    """Those of Secrets Manager: found before anything is changed, and told without what the label says."""
    store = aws.open_parameters("secrets")
    store.write("app", {"k": "v"})
    with pytest.raises(InvalidDataError) as caught:
        store.write_metadata("app", labels)
    assert "canary" not in f"{caught.value!r} {caught.value}"
    assert "AddTagsToResource" not in aws.asked


def test_tags_of_what_is_deleted_meanwhile_are_an_absence(aws):
    store = aws.open_parameters("secrets")
    store.write("app", {"k": "v"})
    aws.refuse("AddTagsToResource", "InvalidResourceId")
    with pytest.raises(SecretNotFoundError):
        store.write_metadata("app", {"a": "b"})


def test_plain_reads_ask_for_no_tags(aws):
    """Only ListTagsForResource tells them, of one parameter a request."""
    store = aws.open_parameters("secrets")
    store.write("app", {"k": "v"})
    store.write_metadata("app", {"owner": "billing"})
    aws.forget()
    assert store.read("app").metadata == {}
    assert [secret.metadata for _, secret in store.read_many(["app"])] == [{}]
    assert store.read_version("app", 1).metadata == {}
    assert "ListTagsForResource" not in aws.asked


def test_list_with_labels_goes_without_those_that_are_denied(aws):
    """And without those of what was deleted meanwhile; whatever else happens is no absence of labels."""
    store = aws.open_parameters("secrets")
    for path in ("app", "more/deep"):
        store.write(path, {"k": "v"})
        store.write_metadata(path, {"owner": "billing"})
    labels = {"app": {"owner": "billing"}, "more/deep": {"owner": "billing"}}
    assert dict(store.walk_labels("")) == labels
    assert dict(store.walk_labels("more")) == {"more/deep": {"owner": "billing"}}
    for code in ("AccessDeniedException", "InvalidResourceId"):
        aws.refuse("ListTagsForResource", code, times=2)
        assert dict(store.walk_labels("")) == {path: {} for path in labels}
    aws.refuse("ListTagsForResource", "InternalServerError", status=500)
    with time_limit(2), pytest.raises(StoreUnavailableError):
        list(store.walk_labels(""))


def test_batch_takes_ten_a_request(aws):
    """One that is denied among them fails the whole request, so that they are read one by one."""
    store = aws.open_parameters("secrets")
    paths = [f"app{number}" for number in range(20)]
    assert all(version == 1 for _, version in store.write_many((path, {"k": path}) for path in paths))
    aws.forget()
    outcomes = dict(GuardedStore(store, "aws").read_many([*paths, "absent"]))
    assert aws.asked == ["GetParameters"] * 3
    assert isinstance(outcomes.pop("absent"), SecretNotFoundError)
    assert all(dict(outcomes[path].data) == {"k": path} for path in paths)
    aws.refuse("GetParameters", "AccessDeniedException")
    outcomes = dict(store.read_many(["app1", "absent"]))
    assert isinstance(outcomes["app1"], Secret)
    assert isinstance(outcomes["absent"], SecretNotFoundError)
    aws.refuse("GetParameters", "ThrottlingException")
    assert isinstance(dict(store.read_many(["app1"]))["app1"], StoreUnavailableError)


# --- keys and tiers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "name", "key"), [("keys", "app/k", "k"), ("keys", "app", "value"), ("secrets", "app", "k")]
)
def test_parameter_keeps_its_key_and_its_tier(aws, layout, name, key):
    """A write without a key would take the account's, and an advanced parameter cannot become a standard one."""
    put(aws, name, "v", KeyId="alias/theirs", Tier="Advanced")
    aws.open_parameters(layout).write("app", {key: "new"})
    assert (described(aws, name)["KeyId"], described(aws, name)["Tier"]) == ("alias/theirs", "Advanced")
    aws.open_parameters(layout, kms_key="alias/ours").write("app", {key: "newer"})
    assert described(aws, name)["KeyId"] == "alias/ours"
    assert list(held(aws)) == [name]


@pytest.mark.parametrize("layout", ["keys", "secrets"])
def test_key_that_may_not_be_looked_at_is_not_guessed(aws, layout):
    aws.refuse("DescribeParameters", "AccessDeniedException")
    with pytest.raises(PermissionDeniedError, match="`kms_key`"):
        aws.open_parameters(layout).write("app", {"k": "v"})
    assert held(aws) == {}
    aws.open_parameters(layout, kms_key="alias/aws/ssm").write("app", {"k": "v"})
    assert len(held(aws)) == 1


@pytest.mark.parametrize("layout", ["keys", "secrets"])
def test_every_write_is_encrypted(aws, layout):
    """What is plain is read, and not written: AWS changes no parameter's type, and nothing is deleted to write it."""
    name = "app/k" if layout == "keys" else "app"
    store = aws.open_parameters(layout)
    store.write("app", {"k": "new"})
    sent = [body_of(request) for request in aws.proxy.requests if operation_of(request) == "PutParameter"]
    assert {request["Type"] for request in sent} == {"SecureString"}
    store.delete("app")
    put(aws, name, '{"k":"plain"}', Type="String")
    assert list(store.read("app").data) == ["k"]
    aws.forget()
    with pytest.raises(ConflictError, match=f"/{aws.name(name)} is not a SecureString"):
        store.write("app", {"k": "new"})
    assert "PutParameter" not in aws.asked
    assert "DeleteParameter" not in aws.asked
    assert held(aws) == {name: '{"k":"plain"}'}


def test_layout_of_keys_has_no_options_of_the_other(aws):
    for options in ({"fold": "plain"}, {"tag_prefix": "x"}):
        with pytest.raises(ConfigurationError, match="layout"):
            aws.open_parameters("keys", **options)
