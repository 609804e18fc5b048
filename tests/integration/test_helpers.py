"""Real programs that ask `strongroom helper`: their requests to servers, and their messages in an outage."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from strongroom._chain.answer import Resolution
from strongroom._cli.helper.protocols import aws_document
from strongroom.secret import protect
from support.programs import require, write_python
from support.services.serving import serving

SCRIPTS = Path(sys.executable).parent
CANARY = "canary-7f3a"
LIMIT = 120
"""Seconds that a program may take on a busy machine."""


class Service(ThreadingHTTPServer):
    """A server that wants a login.

    `files` are its answers by path, `headers` the values of Authorization, empty without one, and `served` the paths of
    files that it has served.

    Attributes:
        accepted: the values of Authorization that it accepts; None if it wants none.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, tuple[str, bytes]] = {}
        self.headers: list[str] = []
        self.served: list[str] = []
        self.accepted: set[str] | None = {basic("ci", CANARY)}
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def seen(self) -> list[str]:
        """The values of Authorization that arrived, without those of requests that had none."""
        return [header for header in self.headers if header]

    def handle_error(self, request, client_address):
        """Print nothing about a client that breaks off."""


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self):  # http.server's name
        self.server.headers.append(given := self.headers.get("Authorization", ""))
        kind, content, status = "text/plain", b"no", 404
        if self.server.accepted is not None and given not in self.server.accepted:
            status = 401
        elif (path := self.path.partition("?")[0]) in self.server.files:
            kind, content = self.server.files[path]
            self.server.served.append(path)
            status = 200
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="service"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_POST = do_GET  # noqa: N815  # http.server's names

    def log_message(self, *_):
        pass


def basic(username: str, password: str) -> str:
    """Return the value of Authorization."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as server:
        yield server


@pytest.fixture(autouse=True)
def _scripts_on_path(monkeypatch) -> None:
    """The scripts of this environment, as those of a user's are."""
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")


def configure(text: str) -> Path:
    """Write the configuration of the user."""
    file = Path.home() / ".config" / "strongroom" / "strongroom.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program with these variables added."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", **variables}
    words = list(map(str, command))
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False
    )


LOGIN = f"""
chain = ["memory"]
[stores.memory.secrets."team/login"]
username = "ci"
password = "{CANARY}"
[stores.memory.secrets."team/api"]
token = "{CANARY}"
"""


def row(name: str) -> str:
    """Return the table `[helpers]` with one row."""
    return f'[helpers]\n"{name}" = "team/login"\n'


def unavailable(port: int) -> str:
    """Return a chain whose store is a server that refuses connections."""
    return f'timeout = 2\nchain = ["vault"]\n[stores.vault]\nurl = "http://127.0.0.1:{port}"\ntoken = "t"\n'


# --- git --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(service, tmp_path) -> str:
    """The address of a repository that `service` has."""
    require("git")
    bare = tmp_path / "app.git"
    subprocess.run(["git", "init", "--quiet", "--bare", bare], check=True)
    subprocess.run(["git", "-C", bare, "update-server-info"], check=True)
    for file in (each for each in bare.rglob("*") if each.is_file()):
        service.files[f"/team/app.git/{file.relative_to(bare)}"] = "text/plain", file.read_bytes()
    service.files.setdefault("/team/app.git/info/refs", ("text/plain", b""))
    return f"http://{service.host}/team/app.git"


def git(*arguments: str, helper: str = "strongroom") -> subprocess.CompletedProcess[str]:
    # An empty helper drops those of the machine.
    helpers = ("-c", "credential.helper=", "-c", f"credential.helper={helper}")
    return run("git", *helpers, *arguments, GIT_TERMINAL_PROMPT="0", GIT_CONFIG_NOSYSTEM="1")


def test_git_logs_in_with_the_row_of_its_host(service, repository):
    configure(LOGIN + row(f"http://{service.host}"))
    done = git("ls-remote", repository)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(service.seen) == {basic("ci", CANARY)}


def test_git_sends_nothing_to_a_host_without_a_row(service, repository):
    """With the scheme or the port of another service, the row is not that of this one."""
    for name in (service.host, "http://127.0.0.1", f"http://{service.host}/other"):
        configure(LOGIN + row(name))
        done = git("-c", "credential.useHttpPath=true", "ls-remote", repository)
        assert "terminal prompts disabled" in done.stderr
    assert service.seen == []


def test_git_stops_in_an_outage(service, repository, closed_port):
    """Without `quit=1` it would ask the next helper, or the user."""
    configure(unavailable(closed_port) + row(f"http://{service.host}"))
    done = git("ls-remote", repository)
    assert done.returncode == 128
    assert "told us to quit" in done.stderr
    assert "Cannot connect to Vault" in done.stderr
    assert service.seen == []


def test_git_tells_a_helper_of_a_password_that_was_refused(service, repository):
    """git runs `erase`, and fails as if there were no helper."""
    service.accepted = {basic("ci", "another")}
    configure(LOGIN + row(f"http://{service.host}"))
    done = git("ls-remote", repository)
    assert done.returncode == 128
    assert "Authentication failed" in done.stderr
    assert CANARY not in done.stderr


# --- docker -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[Service]:
    """A registry behind TLS with one image."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path("authority.pem")
    content = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "manifests": []}).encode()
    with serving(Service(context)) as server:
        server.files = {"/v2/": ("application/json", b"{}"), "/v2/app/manifests/1": (MANIFEST, content)}
        yield server


@pytest.fixture
def docker(registry, tmp_path):
    """A function that runs docker without a daemon, and with our helper for the registry."""
    require("docker")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "strongroom"}}))

    def call(*arguments: str, piped: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none"}
        return subprocess.run(
            ["docker", *arguments],
            env={**environment, "NO_PROXY": "127.0.0.1", "SSL_CERT_FILE": "authority.pem"},
            input=piped,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    return call


MANIFEST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.mark.long
def test_docker_reads_an_image_with_the_row_of_its_registry(registry, docker):
    """The manifest is read. docker then refuses it, since it lists no image."""
    configure(LOGIN + row(registry.host))
    docker("manifest", "inspect", f"{registry.host}/app:1")
    assert set(registry.seen) == {basic("ci", CANARY)}
    assert "/v2/app/manifests/1" in registry.served


@pytest.mark.long
def test_docker_says_why_a_login_could_not_be_read(registry, docker, closed_port):
    """It continues without a login, so the line on stderr is all that tells the reason."""
    configure(unavailable(closed_port) + row(registry.host))
    done = docker("manifest", "inspect", f"{registry.host}/app:1")
    assert done.returncode != 0
    assert "Cannot connect to Vault" in done.stderr
    assert registry.seen == []


@pytest.mark.long
@pytest.mark.parametrize(("password", "code"), [(CANARY, 0), ("typed-9b", 1)])
def test_docker_login_succeeds_with_the_stored_login_alone(registry, docker, password, code):
    """The registry accepts both. A login that is not stored must not look like one that is."""
    registry.accepted = {basic("ci", CANARY), basic("ci", "typed-9b")}
    configure(LOGIN + row(registry.host))
    done = docker("login", registry.host, "--username", "ci", "--password-stdin", piped=password)
    assert (done.returncode, "Login Succeeded" in done.stdout) == (code, code == 0), done.stderr
    assert "typed-9b" not in done.stdout + done.stderr


# --- kubectl ----------------------------------------------------------------------------------------------------------


def kubeconfig(server: Service, reference: str, version: str, authority: str = "") -> Path:
    """Write the configuration of kubectl, whose user is our helper."""
    cluster = {"server": f"https://{server.host}", "certificate-authority-data": authority}
    user = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": "strongroom",
        "args": ["helper", "kubectl", reference],
        "interactiveMode": "Never",
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"exec": user}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = Path("kubeconfig")
    file.write_text(json.dumps(document))
    return file


@pytest.mark.long
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_kubectl_sends_the_token(version):
    require("kubectl")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    configure(LOGIN)
    with serving(Service(context)) as server:
        server.accepted = {f"Bearer {CANARY}"}
        server.files["/version"] = "application/json", b"{}"
        pem = base64.b64encode(authority.cert_pem.bytes()).decode()
        file = kubeconfig(server, "team/api#token", version, pem)
        done = run("kubectl", "--kubeconfig", file, "get", "--raw", "/version")
        assert (done.returncode, done.stdout) == (0, "{}"), done.stderr


@pytest.mark.long
def test_kubectl_shows_a_client_certificate(closed_port):
    require("kubectl")
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("ada@example.com")
    certificate = json.dumps("".join(blob.bytes().decode() for blob in client.cert_chain_pems))
    key = json.dumps(client.private_key_pem.bytes().decode())
    secret = f'[stores.memory.secrets."team/tls"]\n"tls.crt" = {certificate}\n"tls.key" = {key}\n'
    configure(f'chain = ["memory"]\n{secret}')
    with serving(Service(context)) as server:
        server.accepted = None
        server.files["/version"] = "application/json", b"{}"
        pem = base64.b64encode(authority.cert_pem.bytes()).decode()
        file = kubeconfig(server, "team/tls", "v1", pem)
        done = run("kubectl", "--kubeconfig", file, "get", "--raw", "/version")
        assert (done.returncode, done.stdout) == (0, "{}"), done.stderr
        configure(unavailable(closed_port))
        done = run("kubectl", "--kubeconfig", file, "get", "--raw", "/version")
        assert done.returncode == 1
        assert "Cannot connect to Vault" in done.stderr


# --- AWS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def profile(monkeypatch, tmp_path) -> Path:
    """A profile `ci` whose process is our helper, behind a program that counts its calls in the returned file."""
    calls = tmp_path / "calls"
    note = f"import os, sys\nwith open({str(calls)!r}, 'a') as file:\n    file.write('call\\n')\n"
    program = write_python(tmp_path / "counted", f"{note}os.execvp('strongroom', ['strongroom', *sys.argv[1:]])\n")
    config = tmp_path / "aws"
    config.write_text(f"[profile ci]\nregion = eu-west-1\ncredential_process = {program} helper aws aws/ci\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return calls


def test_an_sdk_of_aws_gets_the_credentials(profile):
    """botocore, which the AWS command line has too, starts the process."""
    import botocore.session

    configure(f'chain = ["memory"]\n[stores.memory.secrets."aws/ci"]\naccess_key = "AKIA"\nsecret_key = "{CANARY}"\n')
    found = botocore.session.Session(profile="ci").get_credentials().get_frozen_credentials()
    assert found[:3] == ("AKIA", CANARY, None)


def test_an_sdk_of_aws_shows_why_the_credentials_could_not_be_read(profile, closed_port):
    import botocore.session
    from botocore.exceptions import CredentialRetrievalError

    configure(unavailable(closed_port))
    with pytest.raises(CredentialRetrievalError, match="Cannot connect to Vault"):
        botocore.session.Session(profile="ci").get_credentials()


def test_an_sdk_of_aws_asks_again_before_the_credentials_end():
    """It does not without `Expiration`. It keeps a reserve, of fifteen minutes with botocore."""
    from botocore.credentials import ProcessProvider

    now, asked = datetime.now(UTC), []

    class Process:
        returncode = 0

        def __init__(self, command, **_):
            asked.append(command)

        def communicate(self):
            data = protect({"access_key": f"AKIA{len(asked)}", "secret_key": CANARY})
            ends = now + timedelta(minutes=[10, 60][len(asked) > 1])
            facts = {"version": None, "age": 0.0, "cached": False, "stale": False, "attempts": ()}
            return aws_document(Resolution("aws/ci", None, data, "s", **facts, ends=ends)), b""

    settings = {"profiles": {"ci": {"credential_process": "strongroom helper aws aws/ci"}}}
    credentials = ProcessProvider("ci", lambda: settings, popen=Process).load()
    keys = [credentials.get_frozen_credentials().access_key for _ in range(3)]
    assert keys == ["AKIA2"] * 3
    assert asked == [["strongroom", "helper", "aws", "aws/ci"]] * 2


def test_a_profile_that_its_own_store_uses_ends_at_the_first_repetition(profile, closed_port):
    options = f'profile = "ci"\nregion = "eu-west-1"\nendpoint_url = "http://127.0.0.1:{closed_port}"\n'
    configure(f'chain = ["aws-secretsmanager"]\n[stores.aws-secretsmanager]\n{options}')
    done = run("strongroom", "helper", "aws", "aws/ci")
    assert (done.returncode, done.stdout) != (0, "")
    assert done.stdout == ""
    assert len(profile.read_text().splitlines()) == 1


def test_a_program_of_a_store_that_calls_its_helper_ends(tmp_path):
    """The store `command` cleans the environment but for the announcement. No process is left: each has its own
    session, so the end of the first one would not end it."""
    file = tmp_path / "own.toml"
    again = [str(SCRIPTS / "strongroom"), "--config", str(file), "helper", "aws", "<path>"]
    file.write_text(f'chain = ["c"]\n[stores.c]\nplugin = "command"\nkey = "k"\nread = {json.dumps(again)}\n', "utf-8")
    command = [arg.replace("<path>", "a/b") for arg in again]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (5, "")
    assert "c: read with strongroom ended with exit code" in done.stderr
    listed = run("ps", "-eww", "-o", "args=")
    assert listed.stdout
    assert str(file) not in listed.stdout


# --- package indexes --------------------------------------------------------------------------------------------------


@pytest.fixture
def index(service) -> Service:
    """An index of packages with one distribution, `shop-keys`."""
    file = Path("shop_keys-1.0-py3-none-any.whl")
    about = "shop_keys-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: shop-keys\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    content = file.read_bytes()
    link = f'<a href="/files/{file.name}#sha256={hashlib.sha256(content).hexdigest()}">{file.name}</a>'
    service.files |= {
        "/simple/shop-keys/": ("text/html", f"<!DOCTYPE html><html><body>{link}</body></html>".encode()),
        f"/files/{file.name}": ("application/octet-stream", content),
    }
    file.unlink()
    return service


BACKEND = {"PYTHON_KEYRING_BACKEND": "strongroom.integrations.keyring.StrongroomKeyring"}


@pytest.mark.long
@pytest.mark.parametrize("provider", ["import", "subprocess"])
def test_pip_logs_in_with_the_row_of_the_index(index, provider, tmp_path):
    """As a subprocess it runs the command of keyring, but not the one beside pip."""
    configure(LOGIN + row(f"http://{index.host}"))
    (tmp_path / "keyring").symlink_to(SCRIPTS / "keyring")
    words = ("download", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--keyring-provider", provider)
    address, path = f"http://ci@{index.host}/simple/", f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = (sys.executable, "-m", "pip", *words, "--index-url", address, "shop-keys")
    done = run(*command, **BACKEND, PATH=path)
    assert done.returncode == 0, done.stderr
    assert Path("shop_keys-1.0-py3-none-any.whl").exists()
    assert index.seen[-1] == basic("ci", CANARY)


# --- at once ----------------------------------------------------------------------------------------------------------


ASK_GIT = """
import subprocess
def helper(operation):
    words = ["git-credential-strongroom", operation]
    asked = "protocol=https\\nhost=h.example\\n"
    done = subprocess.run(words, input=asked, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.partition("password=")[2]
print(helper("get"), helper("erase"), helper("get"))
"""
"""git's calls around a password that a server refused: the cache, the end of its entry, and the store."""


@pytest.mark.long
def test_twenty_programs_at_once_get_right_answers(fresh_openbao, monkeypatch, tmp_path):
    """git's share one read of the store through the cache on disk. The others, which cannot say `erase`, do not."""
    login = {"username": "ci", "password": CANARY}
    fresh_openbao.call("POST", "secret/data/team/login", {"data": login})
    cache = f'[cache]\ndisk = true\nfolder = "{tmp_path / "cache"}"\n'
    options = f'[stores.vault]\nurl = "{fresh_openbao.url}"\ntoken = "{fresh_openbao.token}"\n'
    chain = 'timeout = 240\nchain = [{ store = "vault", timeout = 240 }]\n'  # a busy machine is not an outage
    configure(f"{chain}{cache}{options}{row('h.example')}")

    def reads() -> int:
        requests = (entry["request"] for entry in fresh_openbao.audit_entries() if entry["type"] == "request")
        return sum(request["path"] == "secret/data/team/login" for request in requests)

    def answers(*command: str, piped: str = "") -> set[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(20)]
        for process in processes:
            process.stdin.write(piped)
            process.stdin.close()
            process.stdin = None  # `communicate` would flush it
        return {process.communicate(timeout=LIMIT)[0] for process in processes}

    before = reads()
    request = "protocol=https\nhost=h.example\n\n"
    assert answers("git-credential-strongroom", "get", piped=request) == {f"username=ci\npassword={CANARY}\n"}
    assert reads() - before == 1
    assert answers("strongroom", "helper", "key", "team/login#password") == {CANARY}
    assert reads() - before == 21
    fresh_openbao.call("POST", "secret/data/team/login", {"data": {**login, "password": "new"}})
    assert run("strongroom", "helper", "key", "team/login#password").stdout == "new"
    fresh_openbao.call("POST", "secret/data/team/login", {"data": {**login, "password": "newer"}})
    pieces = [sys.executable, "-c", ASK_GIT]
    assert subprocess.run(pieces, capture_output=True, text=True, check=True).stdout.split() == ["new", "newer"]
