"""`strongroom vault policy`: the least that is needed, and the least that was used; a real server takes it."""

import json
from pathlib import Path

import pytest

from strongroom.errors import InvalidPathError, PermissionDeniedError, SecretNotFoundError
from strongroom_vault.plugin import open_vault
from strongroom_vault.policy import audit_log, document
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
    assert document.to_hcl({"b": {"update", "read"}, "a": ["list"]}) == (
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
    token = holder(openbao, document.to_hcl({f"{kv2}/data/{name}": ["read"]}))
    capabilities = openbao.call(
        "POST", "sys/capabilities", {"token": token, "paths": [f"{kv2}/data/{name}", f"{kv2}/data/x"]}
    )
    assert capabilities[f"{kv2}/data/{name}"] == ["read"]
    assert capabilities[f"{kv2}/data/x"] == ["deny"]


def test_what_a_policy_cannot_name_exactly_is_said():
    """A * at the end stands for any end; two braces are a template."""
    assert document.to_hcl({"kv/data/a*": ["read"]}).startswith("# ")
    assert document.to_hcl({"kv/data/+/b": ["read"]}).startswith("# ")
    assert not document.to_hcl({"kv/data/a*": ["read"]}, exact=False).startswith("#")
    with pytest.raises(InvalidPathError, match="braces"):
        document.to_hcl({"kv/data/{{identity}}": ["read"]})


def test_policies_that_read_alike_are_the_same():
    """White space and comments are no difference; a capability is."""
    text = document.to_hcl({"a": ["read", "list"]})
    assert document.same(
        text, '# ours\npath "a" { capabilities=["read","list"] }'.replace("{", " {").replace("=", " = ")
    )
    assert document.same(text, text.replace("\n", "\n  \n") + "// end")
    assert not document.same(text, document.to_hcl({"a": ["read"]}))


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
    """No row, no store, a store of another kind; and options that go with an audit log."""
    Path("strongroom.toml").write_text('chain = ["env"]\n')
    assert print_policy().code == 7
    Path("strongroom.toml").write_text('chain = ["env", "vault"]\n')
    done = print_policy()
    assert done.code == 7
    assert "[secrets]" in done.err
    assert print_policy("--store", "env").code == 7
    assert print_policy("--who", "x").code == 2
    assert print_policy("--store", "vault", "--from-audit", "x").code == 2


# --- what was used ----------------------------------------------------------------------------------------------------


def entry(path, operation="read", **more):
    """A line of an audit log."""
    request = {"operation": operation, "path": path, "mount_type": "kv", "namespace": {"id": "root"}}
    auth = {"display_name": "approle", "metadata": {"role_name": "app"}, "policy_results": {"allowed": True}}
    return {"type": "response", "auth": auth, "request": request, **more}


def lines(*entries):
    return [json.dumps(each).encode() + b"\n" for each in entries]


def test_a_policy_of_what_was_used_allows_the_same_again(own_openbao, tmp_path, print_policy):
    """From a real server's own log: reads, writes, lists and an absence, and nothing that was denied."""
    server = own_openbao
    server.put("a/old", {"k": 1})
    rules = {"secret/data/a/*": ["create", "read", "update", "delete"], "secret/metadata/a/*": ["read", "list", "scan"]}
    token = server.issue_token(rules)

    def use(token):
        store = open_vault(url=server.url, token=token)
        assert store.read("a/old").data == {"k": 1}
        store.write("a/new", {"k": 2})
        store.write("a/new", {"k": 3})
        assert set(store.walk("a")) == {"a/old", "a/new"}
        assert list(store.list_entries("a"))
        with pytest.raises(SecretNotFoundError):
            store.read("a/missing")
        for path in ("elsewhere", "b/x"):
            with pytest.raises(PermissionDeniedError):
                store.read(path)
        store.close()

    use(token)
    done = print_policy("--from-audit", tmp_path / "audit.log", "--who", "token", "--mount", "secret")
    assert done.code == 0
    assert token not in done.out + done.err
    assert "elsewhere" not in done.out
    server.call("DELETE", "secret/metadata/a/new")
    server.put("a/old", {"k": 1})
    use(holder(server, done.out))


def test_only_what_succeeded_and_took_a_policy_counts():
    """A request is counted by its response; what the policy `default` allows needs no other."""
    usage = audit_log.summarize(
        lines(
            {**entry("secret/data/asked"), "type": "request"},
            entry("secret/data/failed", error="1 error occurred"),
            entry("secret/data/denied", auth={"policy_results": {"allowed": False}}),
            entry("auth/approle/login", "update", auth={}),
            entry("auth/token/renew-self", "update"),
            entry("sys/internal/ui/mounts/secret"),
            entry("secret/data/read"),
            entry("secret/data/read"),
            entry("secret/data/read", "update"),
            entry("database/creds/app", "renew"),
            entry("transit/sign/app", "update"),
        )
    )
    assert usage.rules == {"": {"secret/data/read": {"read", "update"}, "transit/sign/app": {"update"}}}
    assert (usage.lines, usage.malformed, usage.unknown_operations, usage.paths) == (11, 0, 1, 2)


def test_what_is_no_entry_is_counted_and_left_out(print_policy):
    """A cut line, another format, JSON of another shape; a prefix of the device's is none."""
    good = json.dumps(entry("secret/data/a"))
    text = "\n".join((good, good[:40], "", "[]", '{"type": "response"}', f"@cee: {good}", "\x00\xff", "9" * 5000))
    Path("audit.log").write_text(text, "utf-8")
    done = print_policy("--from-audit", "audit.log")
    assert done.code == 0
    assert done.out.count("path ") == 1
    assert "not JSON entries of an audit device: 6" in done.err
    assert print_policy("--from-audit", "nowhere").code == 7
    assert print_policy("--from-audit", "-", piped=f"{good}\n").out == done.out


def test_an_odd_line_is_no_line_of_the_policy(print_policy):
    """What a log has in it is quoted, in comments too: it may come from somebody else. It moves no cursor either."""
    namespace = {"path": 'x\npath "*" {\n  capabilities = ["sudo"]\n}\n'}
    log = lines(
        entry("kv/data/a", request={"operation": "read", "path": "kv/data/a", "namespace": namespace}),
        entry('kv/data/"] }\npath "+/*" {\x9b2J\u202e'),
        entry("kv/data/half\ud800"),
        entry("kv/data/b", auth={"display_name": [], "metadata": {"role_name": {}}, "policy_results": {"allowed": {}}}),
        entry("kv/data/c", auth={"display_name": [], "metadata": {"role_name": {}}, "policy_results": {"allowed": 1}}),
    )
    Path("odd.log").write_bytes(b"".join(log))
    done = print_policy("--from-audit", "odd.log")
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.startswith("path ")] == [
        'path "kv/data/\\"] }\\npath \\"+/*\\" {\\u009b2J\\u202e" {',
        'path "kv/data/c" {',
        'path "kv/data/a" {',
    ]
    assert "not JSON entries of an audit device: 1" in done.err
    assert print_policy("--from-audit", "odd.log", "--who", "app").code == 0


def test_who_and_where_narrow_it():
    """A display name or a role's name; a mount by its whole segments."""
    other = {"display_name": "token-ci", "policy_results": {"allowed": True}}
    log = lines(entry("kv/data/a"), entry("kv2/data/b"), entry("kv/data/c", auth=other))
    assert set(audit_log.summarize(log, mounts=["kv/"]).rules[""]) == {"kv/data/a", "kv/data/c"}
    assert set(audit_log.summarize(log, who="app").rules[""]) == {"kv/data/a", "kv2/data/b"}
    assert set(audit_log.summarize(log, who="token-ci").rules[""]) == {"kv/data/c"}


def test_each_namespace_has_its_own_part(print_policy):
    """Policies are a namespace's; it is said that there is more than one."""
    team = entry("secret/data/b")
    team["request"]["namespace"] = {"id": "x", "path": "team/"}
    Path("audit.log").write_bytes(b"".join(lines(entry("secret/data/a"), team)))
    done = print_policy("--from-audit", "audit.log")
    assert done.out.index("# Requests in the audit log.") < done.out.index(
        "# Requests in the audit log in the namespace team."
    )
    assert "several namespaces" in done.err
    document = json.loads(print_policy("--from-audit", "audit.log", "--json").out)
    assert document["policies"] == [
        {"namespace": namespace, "path": {path: {"capabilities": ["read"]}}}
        for namespace, path in (("", "secret/data/a"), ("team", "secret/data/b"))
    ]
