"""The identity of a store for the disk cache: two logins never share entries."""

import pytest

from strongroom._config.discovery import load
from strongroom._plugins import ConfiguredPlugin
from strongroom._plugins.identity import identity

VAULT = """
chain = ["vault"]
[stores.vault]
url = "http://127.0.0.1:1"
[stores.vault.auth]
method = "jwt"
role = "app"
jwt_file = "{file}"
"""


def identity_in(folder, monkeypatch, token, file="jwt"):
    """Return the identity of a store whose credential lies in this folder."""
    folder.mkdir(exist_ok=True)
    for name, content in (("jwt", token), ("strongroom.toml", VAULT.format(file=file))):
        (folder / name).touch(0o600)
        (folder / name).write_text(content)
    monkeypatch.chdir(folder)
    return dict(identity(load(), "vault").lasting)


@pytest.mark.parametrize("file", ["jwt", "./jwt", "../{name}/jwt"])
def test_a_credential_in_a_relative_file_is_a_part_of_it(tmp_path, monkeypatch, file):
    """Two services of one user may be configured alike, each with its own credential in its folder."""
    one, two, again = (
        identity_in(tmp_path / name, monkeypatch, token, file.format(name=name))
        for name, token in (("a", "token-1"), ("b", "token-2"), ("a", "token-1"))
    )
    assert one != two
    assert one == again


def test_a_credential_that_was_replaced_is_another_identity(tmp_path, monkeypatch):
    first = identity_in(tmp_path / "a", monkeypatch, "token-1", str(tmp_path / "a" / "jwt"))
    second = identity_in(tmp_path / "a", monkeypatch, "token-2", str(tmp_path / "a" / "jwt"))
    assert first["options"] == second["options"]
    assert first != second


def test_another_release_of_a_plugin_is_the_same_identity_unless_a_default_has_changed(tmp_path, monkeypatch):
    """A changed default can be another secret at the same path. The metadata holds the README of the release."""
    metadata = "Metadata-Version: 2.1\nName: strongroom\nVersion: {}\n\nName: no header\n"
    releases = []
    for version in ("1.0", "1.1"):
        monkeypatch.setattr(
            "strongroom._plugins.identity.metadata_text", lambda _, version=version: metadata.format(version)
        )
        identity_in(tmp_path / "a", monkeypatch, "token")
        releases.append(identity(load(), "vault"))
    first, second = releases
    assert first.lasting == second.lasting
    assert first.lasting["distribution"] == "strongroom"
    assert first.release != second.release

    schema = ConfiguredPlugin(load(), "vault").schema
    options = {
        name: option._replace(default="kv") if name == "mount" else option for name, option in schema.options.items()
    }
    monkeypatch.setattr("strongroom._plugins.read_schema", lambda *_: schema._replace(options=options))
    assert identity(load(), "vault").lasting != second.lasting
