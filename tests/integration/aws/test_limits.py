"""AWS's limits, which moto does not enforce: what breaks one is refused before a request."""

import pytest

from strongroom.errors import InvalidDataError, InvalidPathError, SecretTooLargeError

pytestmark = pytest.mark.long


def of(size, letter="x"):
    """Data that takes this many bytes as JSON."""
    return {"k": letter * ((size - len('{"k":""}')) // len(letter.encode()))}


@pytest.mark.parametrize("letter", ["x", "é", "🔑"])
def test_secret_is_measured_in_bytes(aws, letter):
    """65,536 bytes are held; a byte more is refused, and nothing is sent."""
    store = aws.open_secrets()
    aws.forget()
    data = of(65_536, letter)
    data["k"] += "x" * (65_536 - len('{"k":""}') - len(data["k"].encode()))
    with pytest.raises(SecretTooLargeError, match="65,537 bytes"):
        store.write("app", {"k": data["k"] + "x"})
    assert aws.asked == []
    store.write("app", data)
    assert store.read("app").data == data


def test_binary_is_measured_as_it_is(aws):
    """As plain binary 64 KiB fit, which as JSON would not."""
    store = aws.open_secrets(fold="plain")
    store.write("app", {"value": b"\xff" * 65_536})
    assert len(store.read("app").data["value"]) == 65_536
    aws.forget()
    with pytest.raises(SecretTooLargeError):
        store.write("app", {"value": b"\xff" * 65_537})
    assert aws.asked == []


@pytest.mark.parametrize(
    ("size", "tier"), [(4_096, "Standard"), (4_097, "Advanced"), (8_192, "Advanced"), (8_193, None)]
)
@pytest.mark.parametrize("layout", ["keys", "secrets"])
def test_parameter_takes_the_tier_that_its_size_needs(aws, layout, size, tier):
    """Standard up to 4 KiB, advanced up to 8, and no more."""
    store = aws.open_parameters(layout)
    text = "é" * 1_000 + "x" * (size - 2_000 - (0 if layout == "keys" else len('{"k":""}')))
    aws.forget()
    if tier is None:
        with pytest.raises(SecretTooLargeError, match="8,193 bytes"):
            store.write("app/db", {"k": text})
        assert aws.asked == []
        return
    store.write("app/db", {"k": text})
    name = f"/{aws.name('app/db')}" + ("/k" if layout == "keys" else "")
    [described] = aws.ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"]
    assert (described["Tier"], described["Type"]) == (tier, "SecureString")


@pytest.mark.parametrize("path", ["two words", "a?b", "a%2eb", "a:b", "arn:aws:x", "ключ", "x" * 512])
def test_name_that_secrets_manager_does_not_take(aws, path):
    """Named before a request, by every operation."""
    store = aws.open_secrets()
    aws.forget()
    for operation in (
        lambda: store.read(path),
        lambda: store.write(path, {"k": "v"}),
        lambda: store.delete(path),
        lambda: list(store.walk(path)),
        lambda: store.versions(path),
        lambda: store.write_metadata(path, {}),
    ):
        with pytest.raises(InvalidPathError, match=r"Secrets Manager accepts|the most is 512"):
            operation()
    [(_, outcome)] = store.read_many([path])
    assert isinstance(outcome, InvalidPathError)
    assert aws.asked == []


@pytest.mark.parametrize("layout", ["keys", "secrets"])
@pytest.mark.parametrize(
    ("prefix", "path", "rule"),
    [
        ("p", "two words", "accepts only letters"),
        ("p", "a+b", "accepts only letters"),
        ("p", "a:1", "accepts only letters"),
        ("p", "x" * 1_010, "the most is 1,011"),
        ("p", "/".join("abcdefghijklmno"), "levels"),
        ("", "awsome/app", "begin with aws or ssm"),
        ("", "SSM-thing", "begin with aws or ssm"),
    ],
)
def test_name_that_parameter_store_does_not_take(aws, layout, prefix, path, rule):
    store = aws.open_parameters(layout, prefix=prefix)
    aws.forget()
    for operation in (
        lambda: store.read(path),
        lambda: store.write(path, {"k": "v"}),
        lambda: store.delete(path),
        lambda: list(store.walk(path)),
    ):
        with pytest.raises(InvalidPathError, match=rule):
            operation()
    assert aws.asked == []


@pytest.mark.parametrize("key", ["two words", "a/b", "a:b", "ключ", "x" * 1_000])
def test_key_that_is_no_part_of_a_parameters_name(aws, key):
    """No key is written when one of them cannot be."""
    store = aws.open_parameters()
    aws.forget()
    with pytest.raises(InvalidPathError):
        store.write("app", {"fine": "v", key: "v"})
    assert aws.asked == []


@pytest.mark.parametrize(
    "labels",
    [
        {"aws:owner": "x"}, {"AWS:owner": "x"}, {"a" * 129: "x"}, {"owner": "x" * 257}, {"owner": "a,b"}, {"a#b": "x"},
        {f"label{number}": "x" for number in range(51)},
    ],
)  # fmt: skip
def test_label_that_is_no_tag(aws, labels):
    """Refused before anything is changed, and without what the label says."""
    store, parameters = aws.open_secrets(), aws.open_parameters("secrets")
    for opened in (store, parameters):
        opened.write("app", {"k": "v"})
        aws.forget()
        with pytest.raises(InvalidDataError) as caught:
            opened.write_metadata("app", labels)
        assert "a,b" not in str(caught.value)
        with pytest.raises(InvalidDataError):
            opened.vet_labels("new", labels)
        assert not [name for name in aws.asked if name.startswith(("Tag", "Untag", "Add", "Put", "Create"))]
