"""The audit log beside that of OpenBao: each request of the application is in both, and cached reads in ours."""

import json

import pytest

from strongroom import PermissionDeniedError, SecretsManager, StoreUnavailableError
from strongroom.audit_log import reason
from strongroom.audit_log.log_file import Hasher
from strongroom.audit_log.verification import verify

CANARY = "canary-6c21"


@pytest.fixture
def openbao(audited_openbao):
    """A server that counts requests."""
    return audited_openbao


def test_reads_and_changes_are_those_that_the_server_records(openbao, kv2, tmp_path):
    """By path and outcome. A denial and an outage are told apart; no value and no token is in the file."""
    file = tmp_path / "log.jsonl"
    openbao.put("app", {"key": CANARY}, mount=kv2)
    token = openbao.issue_token({f"{kv2}/data/app": ["create", "read", "update"]})
    vault = {"store": "vault", "url": openbao.url, "mount": kv2, "token": token}
    with SecretsManager(chain=[vault], audit=file) as manager, reason("ticket 4711"):
        for _ in range(3):
            assert manager.get_secret("app", "key") == CANARY
        manager.set_secret("app", {"key": f"{CANARY}-2"})
        assert manager.get_secret("app", "key") == f"{CANARY}-2"
        with pytest.raises(PermissionDeniedError):
            manager.get_secret("other", "key")
    gone = {**vault, "url": "http://127.0.0.1:1"}
    with SecretsManager(chain=[gone], audit=file) as manager, pytest.raises(StoreUnavailableError):
        manager.get_secret("app", "key")
    text = file.read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [(record["outcome"], record["path"], record["store"]) for record in records] == [
        ("read", "app", "vault"),
        ("hit", "app", "vault"),
        ("hit", "app", "vault"),
        ("started", "app", "vault"),
        ("written", "app", "vault"),
        ("read", "app", "vault"),
        ("denied", "other", "vault"),
        ("unavailable", "app", "vault"),
    ]
    assert openbao.requests(f"{kv2}/data/app", operation="read") == 3  # one is that of the merge
    assert openbao.requests(f"{kv2}/data/app", operation="update") == 1
    assert [record.get("reason") for record in records] == ["ticket 4711"] * 7 + [None]
    assert CANARY not in text
    assert token not in text
    assert verify(file, Hasher()).ok
