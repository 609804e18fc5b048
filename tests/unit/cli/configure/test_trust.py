"""`strongroom trust`, and what the command line does with a found file before it."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from strongroom import _plugins as plugins
from strongroom._cli import registry
from strongroom._cli.configure import completion
from strongroom._config import Rank, Setting, discovery
from strongroom.errors import ConfigurationError
from support.clock import LONG

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
    store = config.store("json").with_options({"file": Setting("a.json", "argument", Rank.ARGUMENT)})
    with pytest.raises(ConfigurationError, match="it sets encrypt_to of store json"):
        plugins.store_settings(config.with_store(store), "json")


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
        *("client_timeout", "max_retries", "disable_redirects"),
        *("fold", "layout", "tag_prefix", "strip_newline", "recovery_days", "restore", "force_delete", "version"),
        *("app", "exit_codes", "identity", "key", "key_file", "kind", "password", "paths", "secrets"),
    }


def test_tab_opens_nothing(command, connections, monkeypatch):
    write(f'[stores.vault]\nurl = "{URL}"\ntoken = "s.theirs"\n')
    monkeypatch.setattr(completion, "CHAIN_TIME", LONG)
    from strongroom._cli.app import strongroom

    with click.Context(strongroom) as root, click.Context(strongroom, parent=root) as ctx:
        root.params = {"config_file": None, "environment": None}
        with pytest.raises(Exception, match="is not trusted"):
            completion.paths(ctx, "a")
    assert connections == []


def test_tab_uses_no_untrusted_file_at_all():
    """Not even one that a command would use."""
    write('chain = ["memory"]\n[stores.memory.secrets.a]\nb = "v"\n')
    from strongroom._cli.app import strongroom

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


FORMATS = ("dotenv", "json", "github", "shell")
TO_A_PROGRAM = {
    "run": ("run", "--", "sh", "-c", "env >> got"),
    "run with its own variables": ("run", "--env-file", "own.env", "--", "sh", "-c", "env >> got"),
    **{f"export {kind}": ("export", "--format", kind) for kind in FORMATS},
    "export to a file": ("export", "--format", "dotenv", "--output", "got"),
    "inject": ("inject", "template"),
    "inject to a file": ("inject", "template", "--output", "got"),
}
"""Commands that pass secrets to a program."""

FOLDERS = {
    "a default": {
        "strongroom.toml": (
            'chain = ["env"]\n[secrets]\nPGHOST = { at = "none/none#host", default = "evil.example" }\n'
        )
    },
    "a store of constants": {
        "strongroom.toml": (
            'chain = ["env", "memory"]\n[stores.memory.secrets."their/host"]\nhost = "evil.example"\n'
            '[secrets]\nOPENAI_BASE_URL = "their/host#host"\n'
        )
    },
    "variables of .env": {
        "strongroom.toml": 'chain = ["env"]\n[secrets]\nSMTP_SERVER = "their/host#host"\n',
        ".env": "SMTP_SERVER=evil.example\n",
    },
    ".env alone": {".env": "API_KEYS_HOST_KEY=evil.example\n"},
}
"""Files of a stranger that choose the host to which a program sends its password."""


@pytest.fixture
def files_of_the_user(monkeypatch):
    """The password, the template and the variables of the user, beside the files of the folder."""
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    write("OWN=strongroom://database/connection#password\n", "own.env")
    write("strongroom://database/connection#password\n", "template")
    write("", "github")
    monkeypatch.setenv("GITHUB_ENV", "github")


def write_folder(kind: str) -> list[str]:
    """Write the files of a stranger. Return their names, as messages show them."""
    for file, text in FOLDERS[kind].items():
        rows = 'DB_PASSWORD = "database/connection#password"\n' if "[secrets]" in text else ""
        write(text + rows, file)
    return [f"./{file}" for file in FOLDERS[kind]]


@pytest.mark.usefixtures("files_of_the_user")
@pytest.mark.parametrize("arguments", TO_A_PROGRAM.values(), ids=TO_A_PROGRAM.keys())
@pytest.mark.parametrize("kind", FOLDERS)
def test_an_untrusted_folder_decides_nothing_about_a_program_that_gets_secrets(command, arguments, kind):
    """One message names all untrusted files, and no program gets a value."""
    files = write_folder(kind)
    done = command(*arguments)
    assert (done.code, done.out) == (7, b"")
    assert "passes secrets to a program" in done.err
    assert done.err.rstrip().endswith(f"strongroom trust {' '.join(files)}")
    assert not Path("got").exists()
    assert not Path("github").read_bytes()
    assert CANARY not in done.err


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ("get", "a", "b")),
        ('token = { env = "BAO_TOKEN" }', ("list",)),
        ("", ("config", "check")),
        ('[rotation.a]\nrotator = "token"\nevery = "30d"', ("rotate", "a")),
        ('[cache]\nfolder = "cache"', ("cache", "clear")),
        ('[audit]\nfile = "log"', ("audit", "head")),
    ],
    ids=["an option", "a reference", "check", "a rotation", "the disk cache", "the audit log"],
)
def test_a_message_names_all_files_that_need_trust(command, text, arguments):
    """Each of both files would be refused alone."""
    write(f'chain = ["vault"]\n[stores.vault]\nprefix = "x"\n{text}\n')
    write(f"BAO_ADDR={URL}\nBAO_TOKEN=own\n", ".env")
    done = command(*arguments)
    assert done.code == 7
    assert (done.err + done.out.decode()).rstrip().endswith("strongroom trust ./strongroom.toml ./.env")


@pytest.mark.usefixtures("files_of_the_user")
@pytest.mark.parametrize("kind", FOLDERS)
def test_the_command_that_a_message_names_is_enough(command, kind):
    """Until one of the files changes."""
    files = write_folder(kind)
    run = ("run", "--env-file", "own.env", "--", "true")
    message = command(*run).err
    assert command("trust", *message.rpartition("strongroom trust ")[2].split()).code == 0
    done = command("inject", "template")
    assert (done.err, done.out) == ("", f"{CANARY}\n".encode())
    for file in files:
        with Path(file).open("a") as stream:
            stream.write("# changed\n")
        assert command("inject", "template").err.rstrip().endswith(f"strongroom trust {file}")
        assert command("trust").code == 0


@pytest.mark.usefixtures("files_of_the_user")
@pytest.mark.parametrize("how", ["option", "variable"])
@pytest.mark.parametrize("chain", ["", '["env", "dotenv"]'])
def test_untrusted_variables_beside_a_named_configuration_are_ignored(command, monkeypatch, how, chain):
    """With one warning, for every command, and by the store that reads them too."""
    row = 'PGHOST = { at = "their/host#host", default = "db.example" }'
    write(f"chain = {chain}\n[secrets]\n{row}\n" if chain else f"[secrets]\n{row}\n", "named.toml")
    write("PGHOST=evil.example\n", ".env")
    options = ["--config", "named.toml"] if how == "option" else []
    if how == "variable":
        monkeypatch.setenv("STRONGROOM_CONFIG", "named.toml")
    for arguments in (("export", "--format", "json"), ("get", "their/host", "host")):
        done = command(*options, *arguments)
        assert done.code == 0
        assert b"evil.example" not in done.out
        assert done.err.count("./.env is ignored: it is not trusted") == 1
    command("trust", ".env")
    assert b"evil.example" in command(*options, "export", "--format", "json").out


# --- writes -----------------------------------------------------------------------------------------------------------

WRITES, MAPS, READS, GRANTS = (
    "writes secrets",
    "decides where secrets are written",
    "decides what a token may read",
    "grants rights at a server",
)
WRITING = {
    "set": (("set", "a/b", "c"), WRITES),
    "delete": (("delete", "a/b"), WRITES),
    "generate": (("generate",), WRITES),
    "rollback": (("rollback", "a/b", "1"), WRITES),
    "undelete": (("undelete", "a/b", "1"), WRITES),
    "destroy": (("destroy", "a/b", "1", "--yes"), WRITES),
    "copy": (("copy", "a/b", "--from", "env", "--to", "memory"), WRITES),
    "migrate": (("migrate", "--from", "env", "--to", "memory", "--yes"), WRITES),
    "migrate plan": (("migrate", "plan", "--from", "env", "--to", "memory"), WRITES),
    "migrate apply": (("migrate", "apply", "plan.json", "--yes"), WRITES),
    "migrate resume": (("migrate", "resume", "RUN"), WRITES),
    "migrate undo": (("migrate", "undo", "RUN", "--yes"), WRITES),
    "migrate delete-source": (("migrate", "delete-source", "RUN", "--yes"), WRITES),
    "mapping export": (("mapping", "export", "mapping.json"), MAPS),
    "vault setup": (("vault", "setup", "--dry-run"), GRANTS),
    "vault policy": (("vault", "policy"), READS),
}
"""Commands that write a secret, or make what says where secrets are written or who may read them."""

ROTATING = {"rotate now", "rotate resume", "rotate undo", "rotate status", "rotate history", "rotate run"}
"""These stop where the rotation is opened: see `Rotations`."""

NOT_WRITING = {
    *("get", "list", "explain", "history", "diff", "scan", "keys", "agent log", "agent check"),  # they read
    *("check", "doctor", "status", "ui", "stores", "plugins", "audit verify", "audit head", "config check"),
    *("migrate verify", "migrate report", "config show", "types", "completion", "trust", "new-plugin"),
    *("import-config", "config init"),  # a new configuration, from files that the user named or without values
    *("cache status", "cache verify", "cache clear", "cache rotate-key"),  # they refuse a folder of such a file
    "dev",  # it starts a separate server, and refuses a file that is not trusted
}
"""Commands that write no secret."""

WRITTEN_BY_A_FOLDER = {
    "rows": {
        "strongroom.toml": (
            'chain = ["memory"]\n[secrets]\nGITHUB_TOKEN = "their/place#token"\n'
            'THEIRS = { at = "their/place#made", generate = "password" }\n'
        )
    },
    "chain": {"strongroom.toml": 'chain = ["memory"]\n'},
    "alias": {"strongroom.toml": '[stores.vault]\nplugin = "memory"\n[secrets]\nX = "a/b#c"\n'},
    "patterns": {"strongroom.toml": '[[chain]]\nstore = "memory"\npaths = ["their/*"]\n'},
    "environments": {"strongroom.toml": 'environment = "prod"\n[environments.prod]\nproduction = false\n'},
    "constants": {"strongroom.toml": 'chain = ["memory"]\n[stores.memory.secrets.a]\nb = "v"\n'},
    "cache": {"strongroom.toml": "[cache]\nttl = 1\n"},
    "rotations": {"strongroom.toml": '[rotation."a/b"]\nrotator = "password"\n'},
    "with .env": {"strongroom.toml": "timeout = 5\n", ".env": "GITHUB_TOKEN=theirs\n"},
}
"""Each setting of a stranger's file that a write would use."""


def leaves(name: str, command: click.Command) -> Iterator[str]:
    """Yield the names of a command's subcommands, or its own."""
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield name
        for sub, each in command.commands.items():
            yield from leaves(f"{name} {sub}", each)
    else:
        yield name


def test_every_command_is_known_to_write_or_not():
    """A new command belongs into one of these tables."""
    commands = {leaf for name in registry.names() if (each := registry.load(name)) for leaf in leaves(name, each)}
    to_a_program = {"run", "export", "inject", "agent run", "agent serve", "mcp"}
    of_no_folder = {f"helper {name}" for name in ("key", "aws", "kubectl", "openclaw", "git", "docker")}
    tables = [set(WRITING), ROTATING, NOT_WRITING, to_a_program, of_no_folder]
    assert set().union(*tables) == commands
    assert sum(map(len, tables)) == len(commands)


@pytest.fixture
def migrated(command, monkeypatch):
    """The name of a migration of this user, in another folder, whose plan is here too."""
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", os.fspath(Path.cwd()))
    for name in os.environ:
        if name.endswith(("_TOKEN", "_ADDR")) and name != "GITHUB_TOKEN":
            monkeypatch.delenv(name)
    monkeypatch.setenv("APP_B_C", "v")
    write('[stores.own]\nplugin = "json"\nfile = "own.json"\n[secrets]\nAPP_B_C = "app/b#c"\n', "own.toml")
    options = ("--from", "env", "--to", "own")
    assert command("--config", "own.toml", "migrate", "plan", *options, "--output", "plan.json").code == 10
    done = command("--config", "own.toml", "migrate", *options, "--yes", "--json")
    assert done.code == 0, done.err
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    return str(json.loads(done.out)["run"])


@pytest.mark.vault
@pytest.mark.parametrize("kind", ["rows", "with .env"])
def test_an_untrusted_folder_decides_nothing_about_a_write(command, migrated, kind):
    """Neither the path, the store and the value, nor the confirmation."""
    files = write_files(kind)
    for name, (arguments, effect) in WRITING.items():
        done = command(*(migrated if word == "RUN" else word for word in arguments))
        assert (done.code, done.out) == (7, b""), name
        assert f"strongroom {name} {effect}" in done.err
        assert done.err.rstrip().endswith(f"strongroom trust {files}"), name
        assert CANARY not in done.err
    assert not Path("mapping.json").exists()


@pytest.mark.parametrize("kind", WRITTEN_BY_A_FOLDER)
def test_no_setting_of_an_untrusted_folder_is_used_for_a_write(command, kind):
    files = write_files(kind)
    done = command("generate")
    assert done.code == 7
    assert f"strongroom generate {WRITES}" in done.err
    assert done.err.rstrip().endswith(f"strongroom trust {files}")


def test_the_values_of_an_untrusted_env_file_can_be_migrated(command, monkeypatch):
    """The user names the file. No address or credential of a store is taken from it."""
    monkeypatch.delenv("VAULT_ADDR")
    write(f"DB_PASSWORD={CANARY}\n", ".env")
    plan = ("migrate", "plan", "--env-file", ".env", "--to")
    assert command(*plan, "memory").code == 10
    write(f"DB_PASSWORD={CANARY}\nVAULT_ADDR={URL}\nVAULT_TOKEN=s.theirs\n", ".env")
    done = command(*plan, "vault")
    assert done.code == 7
    assert "strongroom trust ./.env" in done.err


def write_files(kind: str) -> str:
    """Write the files of a stranger, and return their names, as a message shows them."""
    for file, text in WRITTEN_BY_A_FOLDER[kind].items():
        write(text, file)
    return " ".join(f"./{file}" for file in WRITTEN_BY_A_FOLDER[kind])


COMMANDS_OF_AN_OPERATOR = {
    "get": ("get", "database/connection", "password"),
    "set": ("set", "a/b", "c"),
    "list": ("list",),
    "explain": ("explain", "a/b"),
    "check": ("check",),
    "doctor": ("doctor",),
    "status": ("status",),
    "config check": ("config", "check"),
    "migrate plan": ("migrate", "plan", "--from", "env", "--to", "memory"),
    "rotate list": ("rotate", "list"),
    "audit verify": ("audit", "verify"),
    "run": ("run", "--", "true"),
}


@pytest.mark.parametrize("arguments", COMMANDS_OF_AN_OPERATOR.values(), ids=COMMANDS_OF_AN_OPERATOR.keys())
@pytest.mark.parametrize(
    ("file", "text"), [("strongroom.toml", "timeout = 5\n"), (".env", "DB_PASSWORD=theirs\n")], ids=["toml", "env"]
)
@pytest.mark.parametrize("owner", ["user", "machine"])
def test_an_untrusted_file_does_not_override_the_configuration_of_the_user(
    command, monkeypatch, tmp_path, arguments, file, text, owner
):
    """Its audit log, its rules of production and its `never` would be off without a word."""
    installed = tmp_path / "strongroom" / "strongroom.toml"
    installed.parent.mkdir()
    if owner == "user":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    else:
        monkeypatch.setattr(discovery, "SYSTEM_FILE", installed)
    installed.write_text('[cache]\nnever = ["database/*"]\n')
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    write(text, file)
    done = command(*arguments)
    assert done.code == 7
    assert f"./{file} is not trusted: the settings of {installed} would change" in done.err
    assert done.err.rstrip().endswith(f"strongroom trust ./{file}")
    assert CANARY.encode() not in done.out


def test_the_library_uses_a_found_file_that_is_not_trusted(monkeypatch, tmp_path):
    """An application runs in its own folder. The command line runs in any."""
    (tmp_path / "strongroom").mkdir()
    (tmp_path / "strongroom" / "strongroom.toml").write_text("timeout = 7\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write("timeout = 5\n")
    assert discovery.load().timeout == 5


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
    from strongroom import ConfigurationError
    from strongroom._cli.app import strongroom

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
    write(f"BAO_ADDR={URL}\n", ".env")
    done = command("dev", "--", "true")
    assert done.code == 7
    assert "strongroom dev passes ./strongroom.toml to a program" in done.err
    assert done.err.rstrip().endswith("strongroom trust ./strongroom.toml ./.env")


def test_there_is_nothing_to_trust(command):
    done = command("trust")
    assert done.code == 7
    assert "no ./strongroom.toml and no ./.env here" in done.err
