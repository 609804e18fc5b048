"""`strongroom helper`: the configuration that it reads, its answer to each outcome, and that it stores nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._cli.helper import program
from strongroom._cli.helper.chain import Source
from strongroom._cli.helper.program import Call, read_call
from strongroom.errors import (
    AuthenticationError,
    ConfigurationError,
    PermissionDeniedError,
    StoreUnavailableError,
)
from strongroom.secret import Secret
from strongroom.store import Traits
from strongroom.store.issuer import Issued, IssuingStore
from support.cli_fixtures import Done
from support.stores import RemoteStore

CANARY = "canary-7f3a"
HELPERS = """
[helpers]
"h.example" = { at = "git/h#token", username = "x-access-token" }
"registry.example:5000" = "registry/ci"
"""
SECRETS = f"""
chain = ["memory"]
[stores.memory.secrets."git/h"]
token = "{CANARY}"
[stores.memory.secrets."registry/ci"]
username = "ci"
password = "{CANARY}"
"""
GIT = b"protocol=https\nhost=h.example\n"
DOCKER = b"registry.example:5000\n"
NO_OPTIONS = Source()
ABSENT = b"credentials not found in native keychain\n"


@pytest.fixture
def helper(capsysbinary, monkeypatch) -> Iterator[Callable[..., Done]]:
    """A function that answers a call in this process, with bytes on stdin."""

    def call(name: str, argument: str = "", *, piped: bytes = b"", source: Source = NO_OPTIONS) -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        code = program.run(Call(name, argument, source=source))
        captured = capsysbinary.readouterr()
        return Done(code, captured.out, captured.err.decode())

    handlers = list(logging.getLogger().handlers)
    yield call
    logging.getLogger().handlers[:] = handlers


def write_users(text: str) -> Path:
    """Write the configuration of the user."""
    file = Path.home() / ".config" / "strongroom" / "strongroom.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


@pytest.fixture
def configured() -> Path:
    return write_users(SECRETS + HELPERS)


@pytest.fixture
def store(monkeypatch) -> RemoteStore:
    """A store far away that is the whole chain. It has the secrets of `SECRETS`."""
    write_users(HELPERS)
    secrets = {"git/h": {"token": CANARY}, "registry/ci": {"username": "ci", "password": CANARY}}
    far = RemoteStore(secrets)
    monkeypatch.setattr(SecretsManager, "from_config", lambda _: SecretsManager(chain=[far]))
    return far


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ("helper key a#b", Call("key", "a#b")),
        ("helper key --json a#b", Call("key", "a#b", as_json=True)),
        ("helper key a#b --json", Call("key", "a#b", as_json=True)),
        ("helper openclaw", Call("openclaw")),
        ("--config /c --environment=x helper git get", Call("git", "get", source=Source(Path("/c"), "x"))),
        ("helper", None),
        ("helper --help", None),
        ("helper key", None),
        ("helper key a#b c", None),
        ("helper key --help", None),
        ("helper aws --json a", None),
        ("helper openclaw a", None),
        ("helper svn get", None),
        ("--verbose helper key a#b", None),
        ("--config", None),
        ("get helper", None),
        ("run -- helper key a#b", None),
    ],
)  # fmt: skip
def test_a_plain_call_is_read_without_click(arguments, call):
    assert read_call(arguments.split()) == call


def test_click_answers_the_same(command, configured):
    """With options that the short way does not know."""
    done = command("--no-color", "helper", "key", "git/h#token")
    assert done == (0, CANARY.encode(), "")
    assert command("helper", "git", "get", piped=GIT).out == f"username=x-access-token\npassword={CANARY}\n".encode()
    assert command("helper", "key").code == 2


def test_the_help_has_the_line_for_each_program(command):
    text = command("helper", "--help").out.decode()
    for name in [
        "apiKeyHelper",
        "Codex",
        "credential_process",
        "kubeconfig",
        "OpenClaw",
        "git",
        "docker",
        "pip",
        "uv",
        "npm",
    ]:
        assert name in text


def test_a_helper_does_not_import_click(configured):
    """It takes a third of the time that the protocol needs."""
    code = (
        "import sys\nfrom strongroom._cli.helper import program\nfrom strongroom._cli.helper.program import Call\n"
        "program.run(Call('key', 'git/h#token')); print(*{'click', 'rich', 'hvac', 'stevedore'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {CANARY, f"{CANARY}stevedore"}


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [True, False])
def test_nothing_of_the_working_directory_is_used(helper, configured, monkeypatch, trusted):
    """A helper runs in the folder of a stranger. Neither its file nor its `.env` counts, trusted or not."""
    if not trusted:
        monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    Path("strongroom.toml").write_text(SECRETS.replace(CANARY, "theirs") + HELPERS)
    Path(".env").write_text("GIT_H_TOKEN=theirs\n")
    for file in (Path("strongroom.toml"), Path(".env")):
        file.chmod(0o600)
    assert helper("key", "git/h#token") == (0, CANARY.encode(), "")
    configured.unlink()
    assert helper("key", "git/h#token").code == 3
    assert helper("git", "get", piped=GIT) == (0, b"", "")


def test_a_file_is_named_by_its_absolute_path(helper, monkeypatch):
    file = Path("mine.toml")
    file.write_text(SECRETS)
    assert helper("key", "git/h#token", source=Source(file.absolute())).out == CANARY.encode()
    refused = helper("key", "git/h#token", source=Source(file))
    assert (refused.code, refused.out) == (7, b"")
    assert "The option --config: mine.toml is relative" in refused.err
    monkeypatch.setenv("STRONGROOM_CONFIG", str(file.absolute()))
    assert helper("key", "git/h#token").out == CANARY.encode()
    monkeypatch.setenv("STRONGROOM_CONFIG", str(file))
    refused = helper("key", "git/h#token")
    assert (refused.code, refused.out) == (7, b"")
    assert "STRONGROOM_CONFIG: mine.toml is relative" in refused.err


# --- each outcome -----------------------------------------------------------------------------------------------------


FAULTS = [
    (StoreUnavailableError(None, "connection refused"), 5),
    (PermissionDeniedError("git/h", "HTTP 403"), 4),
    (AuthenticationError(None, "HTTP 401"), 4),
    (ConfigurationError("wrong"), 7),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=[type(fault).__name__ for fault, _ in FAULTS])
def test_an_outage_or_a_denial_is_never_an_absence(helper, store, fault, code):
    """git stops, docker shows the message and not the sentence of an absence, and the others fail by exit code."""
    store.fault = fault
    git = helper("git", "get", piped=GIT)
    docker = helper("docker", "get", piped=DOCKER)
    assert (git.code, git.out) == (code, b"quit=1\n")
    assert docker.code == 1
    assert docker.out not in {b"", ABSENT}
    assert docker.out.decode().strip() in docker.err
    for done in (git, docker, *(helper(name, "git/h#token") for name in ("key", "kubectl"))):
        assert done.err.count("\n") == 1, "one line on stderr"
        assert CANARY not in done.err
    assert [helper("aws", "git/h")[:2], helper("key", "git/h#token")[:2]] == [(code, b"")] * 2


def test_an_absence_is_an_absence(helper, store):
    store.delete("git/h")
    store.delete("registry/ci")
    assert helper("git", "get", piped=GIT)[:2] == (3, b"")
    assert helper("docker", "get", piped=DOCKER)[:2] == (1, ABSENT)
    assert helper("key", "git/h#token")[:2] == (3, b"")


def test_a_host_without_a_row_opens_no_store(helper, store):
    """The next helper of git, or docker's own file, may know it, so the helper prints nothing."""
    for host in (b"other.example", b"h.example:8443", b"ada@h.example", b"h.example.evil.example"):
        assert helper("git", "get", piped=b"protocol=https\nhost=%s\n" % host) == (0, b"", "")
    assert helper("git", "get", piped=b"protocol=http\nhost=h.example\n") == (0, b"", "")
    for host in (b"registry.example", b"http://registry.example:5000", b"ci@registry.example:5000"):
        assert helper("docker", "get", piped=host) == (1, ABSENT, "")
    assert store.reads == []


def test_another_user_than_that_of_the_row_gets_nothing(helper, store):
    assert helper("git", "get", piped=GIT + b"username=ada\n") == (0, b"", "")
    assert store.reads == []
    assert helper("git", "get", piped=GIT + b"username=x-access-token\n").out.startswith(b"username=x-access-token\n")
    write_users('[helpers]\n"h.example" = "registry/ci"')
    assert helper("git", "get", piped=GIT + b"username=ada\n") == (0, b"", "")
    assert helper("git", "get", piped=GIT + b"username=ci\n").out == f"username=ci\npassword={CANARY}\n".encode()


def test_a_doubtful_path_stops_git(helper, store):
    done = helper("git", "get", piped=GIT + b"path=team/%2e%2e/other\n")
    assert (done.code, done.out) == (6, b"quit=1\n")
    assert store.reads == []


@pytest.mark.parametrize("value", [f"{CANARY}\nquit=0", f"{CANARY}\r", f"{CANARY}\0"])
def test_a_password_with_a_line_end_is_not_sent_to_git(helper, store, value):
    store.write("git/h", {"token": value})
    done = helper("git", "get", piped=GIT)
    assert (done.code, done.out) == (6, b"quit=1\n")
    assert CANARY not in done.err


def test_git_ends_its_request_with_an_empty_line_or_the_end(helper, configured):
    answer = f"username=x-access-token\npassword={CANARY}\n".encode()
    assert helper("git", "get", piped=GIT).out == answer
    assert helper("git", "get", piped=GIT + b"\nhost=evil.example\n").out == answer


def test_git_need_not_close_its_pipe(configured, monkeypatch, capsysbinary):
    read, write = os.pipe()
    os.write(write, GIT + b"\n")
    with os.fdopen(read) as stdin, os.fdopen(write):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert program.run(Call("git", "get")) == 0
    assert CANARY.encode() in capsysbinary.readouterr().out


def test_openclaw_gets_errors_beside_values(helper, configured):
    request = {"protocolVersion": 1, "provider": "p", "ids": ["git/h#token", "none/here#x", "nothing"]}
    done = helper("openclaw", piped=json.dumps(request).encode())
    answer = json.loads(done.out)
    assert done.code == 0
    assert answer["values"] == {"git/h#token": CANARY}
    assert answer["errors"].keys() == {"none/here#x", "nothing"}
    assert answer["errors"]["none/here#x"]["code"] == "NOT_FOUND"
    assert "the key is empty" in answer["errors"]["nothing"]["message"]
    assert "nothing" in answer["errors"]["nothing"]["message"]


@pytest.mark.parametrize("name", ["a/b", "/a#b", "../a#b", "a#" + "b" * 5000, "a#b\n"])
def test_an_id_that_can_name_no_key_is_an_error(helper, store, name):
    done = helper("openclaw", piped=json.dumps({"protocolVersion": 1, "provider": "p", "ids": [name]}).encode())
    assert done.code == 0
    assert json.loads(done.out)["errors"][name]["code"] == "FAILED"
    assert store.reads == []


def test_a_request_that_is_too_long_is_refused(helper, store):
    request = {"protocolVersion": 1, "ids": ["git/h#token"], "provider": "x" * (1 << 20)}
    assert helper("openclaw", piped=json.dumps(request).encode())[:2] == (6, b"")
    assert store.reads == []


def test_a_key_without_its_name_is_refused(helper, configured):
    assert "Write PATH#KEY" in helper("key", "git/h").err
    assert "Write PATH" in helper("aws", "git/h#token").err


def test_kubectl_that_wants_another_version_reads_nothing(helper, store, monkeypatch):
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", '{"apiVersion": "client.authentication.k8s.io/v2"}')
    assert helper("kubectl", "git/h#token")[:2] == (6, b"")
    assert store.reads == []


def test_a_bug_shows_its_class_and_nothing_else(helper, configured, monkeypatch):
    def fail(_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(SecretsManager, "from_config", fail)
    assert helper("git", "get", piped=GIT) == (1, b"quit=1\n", "strongroom: Unexpected failure: RuntimeError\n")
    assert helper("docker", "get", piped=DOCKER)[:2] == (1, b"Unexpected failure: RuntimeError\n")


def test_the_output_of_a_plugin_is_not_in_the_answer(helper, store, monkeypatch):
    read = store.read
    monkeypatch.setattr(store, "read", lambda path: [sys.stdout.write("noise"), read(path)][1])
    assert helper("key", "git/h#token").out == CANARY.encode()


# --- read only --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["store", "capability", "an-operation-of-later"])
def test_git_stores_nothing(helper, store, operation):
    assert helper("git", operation, piped=GIT + b"username=x\npassword=y\n") == (0, b"", "")
    assert store.reads == []


def test_docker_may_store_what_is_there_and_nothing_else(helper, store):
    """`docker login` ends with a `store`. If it did nothing, a typed password would vanish behind Login Succeeded."""

    def stored(service: str, username: str, secret: str) -> Done:
        login = {"ServerURL": service, "Username": username, "Secret": secret}
        return helper("docker", "store", piped=json.dumps(login).encode())

    assert stored("registry.example:5000", "ci", CANARY) == (0, b"", "")
    for login in (("registry.example:5000", "ci", "typed-9b"), ("registry.example:5000", "ada", CANARY),
                  ("other.example", "ci", "typed-9b")):  # fmt: skip
        done = stored(*login)
        assert done.code == 1
        assert done.out not in {b"", ABSENT}
        assert "typed-9b" not in done.err + done.out.decode()
        assert CANARY not in done.err + done.out.decode()
    assert store.read("registry/ci").data["password"] == CANARY


@pytest.mark.parametrize("request_text", ["", "{", "\udcff", "[]", "{}", '{"ServerURL": "r", "Username": "u"}'])
def test_a_malformed_login_of_docker_is_not_stored(helper, store, request_text):
    done = helper("docker", "store", piped=request_text.encode(errors="surrogateescape"))
    assert done.code == 1
    assert done.out not in {b"", ABSENT}
    assert store.reads == []


@pytest.mark.parametrize("address", [b"\xff", b"x" * (1 << 21), b"", b"registry.example:5000 "])
def test_an_address_that_is_not_the_host_of_a_row_is_absent_for_docker(helper, store, address):
    known = address.strip() == DOCKER.strip()
    assert (helper("docker", "get", piped=address)[:2] == (1, ABSENT)) is not known


def test_docker_lists_and_erases_nothing(helper, store):
    assert helper("docker", "list") == (0, b"{}\n", "")
    assert helper("docker", "version").code == 0
    assert helper("docker", "erase", piped=b"other.example") == (1, ABSENT, "")
    refused = helper("docker", "erase", piped=DOCKER)
    assert refused.code == 1
    assert b"helpers delete nothing" in refused.out
    assert helper("docker", "sign").code == 1
    assert store.reads == []


def test_the_script_of_git_answers_store_before_any_import():
    """git runs it after each success: an import takes twice as long as all the rest."""
    code = (
        "import sys; from strongroom._cli.helper.scripts import git\nsys.argv = ['script', 'store']\n"
        "git(); print(*sorted(name for name in sys.modules if name.startswith('strongroom')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = ["strongroom", "strongroom._cli", "strongroom._cli.helper", "strongroom._cli.helper.scripts"]
    assert done.stdout.split() == [*package, "strongroom._lazy_names"]


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        ("", 0, b"Usage: "),
        ("--help", 0, b"Usage: "),
        ("get", 0, b"username=x-access-token\n"),
        ("--environment x get", 7, b"quit=1\n"),
    ],
)
def test_the_script_of_git_is_the_helper_with_the_same_options(configured, words, code, answer):
    """Without an operation it shows its help."""
    script = Path(sys.executable).parent / "git-credential-strongroom"
    done = subprocess.run([script, *words.split()], input=GIT, capture_output=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith(answer)


# --- a helper that calls itself ---------------------------------------------------------------------------------------


def test_a_helper_that_a_store_of_its_chain_runs_stops(helper, store, monkeypatch):
    """As of a profile of AWS whose `credential_process` it is: without this, each process starts the next one."""
    nested: list[Done] = []
    read = store.read

    def read_and_run(path: str) -> Secret:
        if not nested:
            nested.append(helper("key", "git/h#token"))
            nested.append(helper("key", "registry/ci#password"))
        return read(path)

    monkeypatch.setattr(store, "read", read_and_run)
    assert helper("key", "git/h#token").out == CANARY.encode()
    same, other = nested
    assert (same.code, same.out) == (7, b"")
    assert "The helper for git/h calls itself" in same.err
    assert other.code == 0
    assert os.environ["_STRONGROOM_HELPERS"] == ""


# --- issued credentials -----------------------------------------------------------------------------------------------


class Tokens(IssuingStore[str]):
    """A store whose tokens outlast the process."""

    traits = Traits(lasting=True)

    def __init__(self) -> None:
        super().__init__({"api/token": "row"})

    def issue(self, path: str, row: str) -> Issued:
        return Issued({"token": CANARY}, 3600)


class Leases(Tokens):
    """A store that revokes its tokens when it is closed."""

    traits = Traits()


def test_a_token_that_outlasts_the_process_is_served_with_its_end(helper, monkeypatch, command):
    monkeypatch.setattr(SecretsManager, "from_config", lambda _: SecretsManager(chain=[Tokens()]))
    assert helper("key", "api/token#token").out == CANARY.encode()
    assert command("get", "api/token#token").out == CANARY.encode()
    ends = json.loads(command("get", "api/token#token", "--json").out)["ends"]
    assert ends.endswith("+00:00")


def test_a_credential_that_ends_with_the_process_is_refused(helper, monkeypatch, command):
    monkeypatch.setattr(SecretsManager, "from_config", lambda _: SecretsManager(chain=[Leases()]))
    for done in (helper("key", "api/token#token"), command("get", "api/token#token")):
        assert (done.code, done.out) == (6, b"")
        assert "strongroom run" in done.err
