"""`strongroom trust`, and what the command line does with a found file before it."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from clock import LONG
from strongroom import plugins
from strongroom.cli.commands import completion
from strongroom.config import OptionValue, Rank, discovery
from strongroom.config.trust import is_dangerous_name
from strongroom.errors import ConfigurationError

URL = "http://127.0.0.1:1"
CANARY = "canary-5b1e"
HOSTILE = {
    "address": f'[stores.vault]\nurl = "{URL}"\ntoken = "s.theirs"\n',
    "variable": f'[stores.vault]\nurl = "{URL}"\ntoken = {{ env = "GITHUB_TOKEN" }}\n',
    "file": f'[stores.vault]\nurl = "{URL}"\ntoken = {{ file = "/etc/hostname" }}\n',
    "headers": f'[stores.vault]\nurl = "{URL}"\nheaders = {{ X-A = {{ env = "GITHUB_TOKEN" }} }}\n',
    "jwt_file": f'[stores.vault]\nurl = "{URL}"\nauth = {{ method = "jwt", role = "a", jwt_file = "/etc/hostname" }}\n',
    "endpoint": f'chain = ["aws-ssm"]\n[stores.aws-ssm]\nregion = "eu-west-1"\nendpoint_url = "{URL}"\n',
    "proxy": f'chain = ["vault"]\n[stores.vault]\nproxy = "{URL}"\n',
    "profile": 'chain = ["aws-ssm"]\n[stores.aws-ssm]\nregion = "eu-west-1"\nprofile = "theirs"\n',
    "client_cert": 'chain = ["vault"]\n[stores.vault]\nclient_cert = "/etc/hostname"\n',
    "recipients": 'chain = ["json"]\n[stores.json]\nfile = "a.json"\nencrypt_to = ["age1theirs"]\n',
    "location": 'chain = ["json"]\n[stores.json]\nfile = "a.json"\n',
    "mount": 'chain = ["vault"]\n[stores.vault]\nmount = "theirs"\n',
    "prefix": 'chain = ["vault"]\n[stores.vault]\nprefix = "theirs"\n',
    "namespace": 'chain = ["vault"]\n[stores.vault]\nnamespace = "theirs"\n',
    "region": 'chain = ["aws-ssm"]\n[stores.aws-ssm]\nregion = "eu-west-1"\n',
    "kms_key": 'chain = ["aws-ssm"]\n[stores.aws-ssm]\nkms_key = "alias/theirs"\n',
    "skip_verify": 'chain = ["vault"]\n[stores.vault]\nskip_verify = true\n',
}
COMMANDS = [("get", "a/b", "c"), ("doctor",), ("list",), ("check",), ("explain", "a/b"), ("run", "--", "true")]


@pytest.fixture(autouse=True)
def untrusted(monkeypatch):
    """No folder is trusted, and the process holds something worth stealing."""
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    monkeypatch.setenv("GITHUB_TOKEN", CANARY)
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:2")


@pytest.fixture
def connections(monkeypatch):
    """Every address that something tried to connect to, except for threads that are older than the test."""
    seen: list[object] = []
    older, connect = set(threading.enumerate()) - {threading.current_thread()}, socket.socket.connect

    def note(client: socket.socket, address: Any) -> None:
        if threading.current_thread() in older:
            connect(client, address)
        else:
            seen.append(address)

    monkeypatch.setattr("socket.socket.connect", note)
    return seen


MEMORY = (
    f'chain = ["vault", "memory"]\n[stores.vault]\nurl = "{URL}"\ntoken = "s.x"\n[stores.memory.secrets.a]\nb = "v"\n'
)


def write(text: str, name: str = "strongroom.toml") -> Path:
    file = Path(name)
    file.write_text(text, "utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_found_file_is_not_used_before_it_is_trusted(command, connections, text, arguments):
    """One line says what to type, and nothing is sent."""
    write(text + '[secrets]\nA = "a#b"\n' if "[secrets]" not in text else text)
    done = command(*arguments)
    assert done.code == 7
    assert "strongroom trust ./strongroom.toml" in done.err + done.out.decode()
    assert connections == []


def test_dotenv_is_not_used_before_it_is_trusted(command, connections):
    write(f"VAULT_ADDR={URL}\nVAULT_TOKEN=s.theirs\n", ".env")
    done = command("get", "a/b", "c")
    assert (done.code, connections) == (7, [])
    assert "strongroom trust ./.env" in done.err


def test_encrypt_to_of_an_untrusted_file_alone_is_refused():
    """Its recipients could read all that a write adds."""
    write('[stores.json]\nencrypt_to = ["age1theirs"]\n')
    config = discovery.load(require_trust=True)
    store = config.store("json").with_options({"file": OptionValue("a.json", "argument", Rank.ARGUMENT)})
    with pytest.raises(ConfigurationError, match="it sets encrypt_to of store json"):
        plugins.settings(config.with_store(store), "json")


def test_every_option_that_moves_values_needs_trust():
    """The options of the installed plugins that a stranger's file may set: none of them decides where values go."""
    harmless = {
        name
        for plugin in plugins.installed()
        if plugin.schema is not None and plugin.distribution.startswith("strongroom")
        for name, option in plugin.schema.options.items()
        if not option.option.needs_trust
    }
    assert harmless == {
        *("client_timeout", "rate_limit", "max_retries", "disable_redirects"),
        *("fold", "layout", "tag_prefix", "strip_newline", "recovery_days", "restore", "force_delete"),
        *("exit_codes", "identity", "key", "paths", "secrets"),
    }


def test_tab_opens_nothing(command, connections, monkeypatch):
    write(f'[stores.vault]\nurl = "{URL}"\ntoken = "s.theirs"\n')
    monkeypatch.setattr(completion, "CHAIN_TIME", LONG)
    import click

    from strongroom.cli.app import strongroom

    with click.Context(strongroom) as root, click.Context(strongroom, parent=root) as ctx:
        root.params = {"config_file": None, "environment": None}
        with pytest.raises(Exception, match="is not trusted"):
            completion.paths(ctx, "a")
    assert connections == []


def test_tab_uses_no_untrusted_file_at_all():
    """Not even one that a command would use."""
    write('chain = ["memory"]\n[stores.memory.secrets.a]\nb = "v"\n')
    import click

    from strongroom.cli.app import strongroom

    with click.Context(strongroom) as root, click.Context(strongroom, parent=root) as ctx:
        root.params = {"config_file": None, "environment": None}
        with pytest.raises(ConfigurationError, match="is not trusted"):
            completion.paths(ctx, "a")


@pytest.mark.parametrize("reference", ['{ env = "GITHUB_TOKEN" }', '{ file = "/etc/hostname" }'])
def test_a_reference_of_a_harmless_option_is_not_followed(command, reference):
    """In an option that may be set without trust."""
    write(f'chain = ["memory"]\n[stores.memory.secrets.a]\nb = {reference}\n')
    done = command("get", "a", "b")
    assert done.code == 7
    assert "reads a variable or a file" in done.err
    assert CANARY.encode() not in done.out


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "LD_PRELOAD",
        "BASH_ENV",
        "PYTHONPATH",
        "https_proxy",
        "NODE_OPTIONS",
        "GIT_SSH",
        "LESSOPEN",
        "ZDOTDIR",
        "MAKEFLAGS",
        "TAR_OPTIONS",
        "_JAVA_OPTIONS",
        "OPENSSL_CONF",
        "KUBECONFIG",
        "AWS_CONFIG_FILE",
        "SSLKEYLOGFILE",
        "LESS",
        "MANPAGER",
        "INPUTRC",
        "VIMRUNTIME",
        "CLOUDSDK_PYTHON",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "HELM_PLUGINS",
        "GTK_MODULES",
        "GNUPGHOME",
        "SOPS_AGE_KEY_CMD",
        "WGETRC",
    ],
)
@pytest.mark.parametrize("arguments", [("run", "--", "true"), ("export", "--format", "json")], ids=["run", "export"])
def test_a_dangerous_variable_of_a_found_file_is_refused(command, name, arguments):
    write(f'chain = ["memory"]\n[stores.memory.secrets.a]\nb = "/tmp"\n[secrets]\n{name} = "a#b"\n')
    done = command(*arguments)
    assert done.code == 7
    assert f"[secrets] sets {name}" in done.err


def test_names_of_usual_secrets_are_not_dangerous():
    names = ("DATABASE_URL", "API_KEY", "APP_SECRET_KEY", "REDIS_PASSWORD", "JWT_SECRET", "STRIPE_API_KEY", "CERT_PATH")
    assert not any(map(is_dangerous_name, names))


def test_a_harmless_file_needs_no_trust(command):
    write('chain = ["memory"]\n[stores.memory.secrets.a]\nb = "v"\n')
    assert command("get", "a", "b").out == b"v"


@pytest.mark.vault
def test_trusted_content_is_used_until_it_changes(command):
    file = write(MEMORY)
    assert command("trust").code == 0
    assert command("get", "a", "b").out == b"v"
    file.write_text(file.read_text() + "# changed\n")
    assert command("get", "a", "b").code == 7


def test_trust_can_be_revoked(command):
    write(f'[stores.vault]\nurl = "{URL}"\ntoken = "s.x"\n')
    command("trust", "strongroom.toml")
    assert "revoked the trust in strongroom.toml" in command("trust", "--revoke", "strongroom.toml").err
    assert "is not trusted" in command("get", "a", "b").err


@pytest.mark.vault
@pytest.mark.parametrize("how", ["option", "variable", "trusted path"])
def test_a_named_file_and_a_trusted_path_need_no_trust(command, monkeypatch, how):
    file = write(MEMORY)
    options = ["--config", str(file)] if how == "option" else []
    if how == "variable":
        monkeypatch.setenv("STRONGROOM_CONFIG", str(file))
    elif how == "trusted path":
        monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", os.fspath(Path.cwd()))
    assert command(*options, "get", "a", "b").out == b"v"


def test_a_file_that_others_may_write_is_refused_everywhere(command):
    """Also one that is harmless, in the application too, and by `strongroom trust`."""
    from strongroom import ConfigurationError, SecretsManager

    write('chain = ["memory"]\n').chmod(0o666)
    for arguments in (("get", "a", "b"), ("trust",)):
        done = command(*arguments)
        assert done.code == 7
        assert "others may write to it" in done.err
    with pytest.raises(ConfigurationError, match="others may write to it"):
        SecretsManager()


def test_tab_reads_no_environments_of_an_untrusted_file(monkeypatch):
    import click

    from strongroom import ConfigurationError
    from strongroom.cli.app import strongroom

    write("[environments.dev]\n[environments.prod]\n")
    with click.Context(strongroom) as ctx:
        ctx.params = {"config_file": None}
        with pytest.raises(ConfigurationError, match="is not trusted"):
            completion.environments(ctx, "")
        monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", os.fspath(Path.cwd()))
        assert completion.environments(ctx, "") == ["dev", "prod"]


def test_dev_uses_no_untrusted_file(command):
    """It names the file to the command, where it would count as one that somebody chose."""
    write(f'[stores.vault]\nproxy = "{URL}"\n')
    done = command("dev", "--", "true")
    assert done.code == 7
    assert "strongroom trust ./strongroom.toml" in done.err


def test_there_is_nothing_to_trust(command):
    done = command("trust")
    assert done.code == 7
    assert "no ./strongroom.toml and no ./.env here" in done.err
