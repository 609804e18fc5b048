"""A token that somebody else got."""

import contextlib
import os
import re
import time

import pytest

from strongroom.errors import ConfigurationError
from strongroom_vault.auth.token import StaticToken, TokenFile
from strongroom_vault.errors import VaultAuthenticationError
from strongroom_vault.plugin import open_vault


def test_static_token_is_the_one_token_there_is():
    """Only the server knows its life, and it is not ours to revoke."""
    auth = StaticToken("s.configured")
    grant = auth.login(None)
    assert (grant.token, grant.ttl, grant.renewable, grant.revocable) == ("s.configured", None, False, False)
    assert not auth.repeatable
    assert "configured" not in f"{auth!r} {auth.token!r} {grant!r}"


def test_token_file_is_read_anew(tmp_path):
    """An Agent's sink replaces it, and may end it with a line end."""
    file = tmp_path / "token"
    file.write_text("s.first\n")
    auth = TokenFile(token_file=file)
    assert auth.login(None).token == "s.first"
    file.write_text("s.second")
    assert auth.login(None).token == "s.second"
    assert auth.repeatable


def test_store_reads_with_the_token_in_the_file(reads, readable, openbao, tmp_path):
    """It is somebody else's, and good after the store is closed."""
    token = openbao.issue_token({f"{readable.mount}/data/*": ["read"]})
    (tmp_path / "token").write_text(token)
    for _ in range(2):
        assert reads({"method": "token-file", "token_file": str(tmp_path / "token")})


def test_store_goes_on_with_the_token_that_replaces_a_dead_one(readable, openbao, tmp_path):
    """Whoever keeps the file fresh need not tell anybody."""
    file, tokens = tmp_path / "token", [openbao.issue_token({f"{readable.mount}/data/*": ["read"]}) for _ in range(2)]
    file.write_text(tokens[0])
    store = open_vault(url=openbao.url, mount=readable.mount, auth={"method": "token-file", "token_file": str(file)})
    assert store.read("app").data == {"password": "hunter2"}
    openbao.call("POST", "auth/token/revoke", {"token": tokens[0]})
    file.write_text(tokens[1])
    deadline, data = time.monotonic() + 60, {}
    while not data:  # a second lies between two logins
        assert time.monotonic() < deadline
        with contextlib.suppress(VaultAuthenticationError):
            data = store.read("app").data
        time.sleep(0 if data else 0.1)
    assert data == {"password": "hunter2"}
    store.close()


@pytest.mark.parametrize(("content", "words"), [
    (None, "No such file"), (b"", "it is empty"), (b" \n", "it is empty"), (b"s.canary\xff", "not UTF-8"),
    (b"s.canary x", "no token has"), (b"s.canary\nX-Evil: 1", "no credential has"), (b"canary" * 20_000, "larger than"),
])  # fmt: skip
def test_file_without_a_token_is_named(tmp_path, content, words, exposed):
    """It says which file, and nothing of what is in it."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    auth = TokenFile(token_file=file)
    with pytest.raises(VaultAuthenticationError, match=re.escape(str(file)) + ".*" + words) as caught:
        auth.login(None)
    assert not exposed(caught.value, "canary")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    """A pipe would hold the login for ever."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path):
        with pytest.raises(VaultAuthenticationError, match=r"auth\.token_file"):
            TokenFile(token_file=file).login(None)


def test_no_token_and_a_token_that_no_header_holds():
    """The one is not authenticated, the other is a wrong option."""
    with pytest.raises(VaultAuthenticationError, match="there is no token"):
        StaticToken("")
    with pytest.raises(ConfigurationError, match=r"^token: "):
        StaticToken("s.x\r\n")
