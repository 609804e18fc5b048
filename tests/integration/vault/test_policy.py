"""`strongroom vault policy`: the least that is needed; a real server takes it."""

import json
from pathlib import Path

import pytest

from strongroom_vault.setup import policies
from support.command_line import Caller

CONFIGURATION = """
chain = [{ store = "kv", paths = ["database/*"] }, { store = "second" }]

[secrets]
DATABASE_URL = "database/connection#url"
DB_HOST = "database/connection#host"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
OPENAI_API_KEY = "api-keys/openai#key"

[stores.kv]
plugin = "vault"
url = "https://vault.example:8200"
token = { file = "/nonexistent/token" }
mount = "team/kv"
prefix = "billing"

[stores.second]
plugin = "vault"
url = "https://vault.example:8200"
namespace = "platform"
"""


@pytest.fixture
def command(capsys):
    return Caller(capsys)


@pytest.fixture
def print_policy(command):
    def call(*arguments, **settings):
        return command("vault", "policy", *arguments, **settings)

    return call


def holder(server, text):
    """A token with this policy and no other."""
    server.call("PUT", "sys/policies/acl/printed", {"policy": text})
    grant = {"policies": ["printed"], "no_default_policy": True}
    return server.call("POST", "auth/token/create", grant)["auth"]["client_token"]


# --- HCL --------------------------------------------------------------------------------------------------------------


def test_rules_are_written_in_the_order_of_their_paths():
    """And capabilities in one order, so that a policy of the same rules is the same text."""
    assert policies.to_hcl({"b": {"update", "read"}, "a": ["list"]}) == (
        'path "a" {\n  capabilities = ["list"]\n}\n\npath "b" {\n  capabilities = ["read", "update"]\n}\n'
    )


@pytest.mark.parametrize(
    "name",
    [
        'quo"te',
        "back\\slash",
        "dollar${brace",
        "${",
        "žluť 🔑",
        "a#b//c",
        "per%20cent",
        "a+b",
        "c1\x9b31m",
        "bidi\u202e",
        "tag\U000e0041",
    ],
)
def test_an_odd_path_is_the_same_to_the_server(openbao, kv2, name):
    """The policy allows it, and nothing that looks like it."""
    token = holder(openbao, policies.to_hcl({f"{kv2}/data/{name}": ["read"]}))
    capabilities = openbao.call(
        "POST", "sys/capabilities", {"token": token, "paths": [f"{kv2}/data/{name}", f"{kv2}/data/x"]}
    )
    assert capabilities[f"{kv2}/data/{name}"] == ["read"]
    assert capabilities[f"{kv2}/data/x"] == ["deny"]


# --- what is needed ---------------------------------------------------------------------------------------------------


def test_the_least_that_a_chain_needs_is_to_read_its_rows(print_policy):
    """Those that the chain asks the store for, below its mount and prefix; no server is asked, and no token read."""
    Path("strongroom.toml").write_text(CONFIGURATION)
    done = print_policy()
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "# Read access for [secrets] in the store kv.\n\n"
        'path "team/kv/data/billing/database/connection" {\n  capabilities = ["read"]\n}\n\n'
        'path "team/kv/data/billing/database/pool" {\n  capabilities = ["read"]\n}\n'
    )
    assert 'path "team/kv/billing/database/pool"' in print_policy("--kv", "1").out
    second = print_policy("--store", "second").out
    assert ", namespace platform" in second
    assert 'path "secret/data/api-keys/openai"' in second
    assert second.count("path ") == 3


def test_the_least_is_enough_on_a_real_server(openbao, kv2, print_policy, command, monkeypatch):
    """The application has its secrets with it, and nothing else."""
    openbao.put("database/connection", {"url": "u"}, mount=kv2)
    openbao.put("other", {"url": "u"}, mount=kv2)
    Path("strongroom.toml").write_text(
        f'chain = ["vault"]\n[secrets]\nDATABASE_URL = "database/connection#url"\n'
        f'DB_POOL_SIZE = {{ at = "database/pool#size", default = 5 }}\n[stores.vault]\nmount = "{kv2}"\n'
    )
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    document = json.loads(print_policy("--json").out)
    assert (document["version"], document["policies"][0].pop("namespace")) == (1, "")
    for text in (print_policy().out, json.dumps(document["policies"][0])):
        monkeypatch.setenv("VAULT_TOKEN", holder(openbao, text))
        assert command("check").code == 0
        assert command("get", "other", "url").code == 4
        assert command("list").code == 4


def test_the_least_for_version_1_is_enough_on_a_real_server(openbao, kv1, print_policy, command, monkeypatch):
    """Its paths have no data/."""
    openbao.call("PUT", f"{kv1}/database/connection", {"url": "u"})
    Path("strongroom.toml").write_text(
        f'chain = ["vault"]\n[secrets]\nDATABASE_URL = "database/connection#url"\n[stores.vault]\nmount = "{kv1}"\n'
    )
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", holder(openbao, print_policy("--kv", "1").out))
    assert command("check").code == 0


def test_what_there_is_no_policy_for_is_an_error(print_policy):
    """No row, no store, a store of another kind."""
    Path("strongroom.toml").write_text('chain = ["env"]\n')
    assert print_policy().code == 7
    Path("strongroom.toml").write_text('chain = ["env", "vault"]\n')
    done = print_policy()
    assert done.code == 7
    assert "[secrets]" in done.err
    assert print_policy("--store", "env").code == 7
