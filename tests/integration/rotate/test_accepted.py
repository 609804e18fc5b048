"""Signatures through a rotation by Strongroom, in an application that may read a KV version 2 engine."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import pytest

from strongroom import SecretsManager
from strongroom._chain import history
from strongroom.errors import PermissionDeniedError, UnsupportedOperationError

PATH = "webhooks/shop"


@pytest.fixture
def operator(openbao, kv2, tmp_path):
    """A manager with the rotation of a signing key."""
    config = tmp_path / "strongroom.toml"
    config.write_text(
        f'chain = ["vault"]\n[stores.vault]\nurl = "{openbao.url}"\ntoken = "{openbao.token}"\nmount = "{kv2}"\n'
        f'[rotation."{PATH}"]\nrotator = "token"\nkey = "key"\n'
    )
    with SecretsManager.from_config(config) as manager:
        manager.set_secret(PATH, {"key": "first", "owner": "shop"})
        yield manager


@pytest.fixture
def application(openbao):
    """Return a manager of an application whose token has these rights below a mount."""
    opened = []

    def open_(mount, *parts):
        token = openbao.issue_token({f"{mount}/{part}{PATH}": ["read"] for part in parts})
        store = {"plugin": "vault", "store": "vault", "url": openbao.url, "token": token, "mount": mount}
        opened.append(SecretsManager(chain=[store]))
        return opened[-1]

    yield open_
    for manager in opened:
        manager.close()


def sign(key, body=b"order 7"):
    return hmac.digest(key.encode(), body, hashlib.sha256)


def is_genuine(manager, signature):
    keys = manager.get_accepted(PATH, "key", grace="1h", fresh=True)
    return any(hmac.compare_digest(sign(key), signature) for key in keys)


def test_signature_of_the_old_key_is_valid_until_the_grace_time_is_over(operator, application, kv2, monkeypatch):
    """A later version that changes the owner alone does not prolong it."""
    app = application(kv2, "data/", "metadata/")
    old = sign(app.get_secret(PATH, "key"))
    operator.rotations.rotate(PATH)
    operator.set_secret(PATH, {"owner": "billing"})
    new = sign(operator.get_secret(PATH, "key"))
    assert new != old
    assert (is_genuine(app, new), is_genuine(app, old)) == (True, True)
    rotated = operator.rotations.history(PATH)[0].created
    monkeypatch.setattr(history, "now_utc", lambda: rotated + timedelta(hours=1))
    assert (is_genuine(app, new), is_genuine(app, old)) == (True, False)


def test_policy_without_the_history_is_a_denial(operator, application, kv2):
    """The secret itself is readable, so the hint names the missing right."""
    app = application(kv2, "data/")
    assert app.get_secret(PATH, "key") == "first"
    with pytest.raises(PermissionDeniedError, match="not its earlier versions"):
        app.get_accepted(PATH, "key", grace="1h")


def test_version_1_engine_has_no_earlier_values(openbao, application, kv1):
    openbao.call("POST", f"{kv1}/{PATH}", {"key": "only"})
    app = application(kv1, "")
    assert app.get_secret(PATH, "key") == "only"
    with pytest.raises(UnsupportedOperationError, match="no versions"):
        app.get_accepted(PATH, "key", grace="1h")
