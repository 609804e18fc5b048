"""The identity of a store for the disk cache: two logins never share entries."""

import pytest

from strongroom._config.discovery import load
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
    return dict(identity(load(), "vault"))


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
