"""`strongroom dev`, as it is called: the server it starts, the command it runs, and what it leaves behind."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from strongroom._config import discovery
from strongroom_vault.dev import command

pytestmark = pytest.mark.long

STRONGROOM = [sys.executable, "-c", "from strongroom._cli.main import main; main()"]
IN_A_SHELL = shlex.join(STRONGROOM)

CONFIGURATION = """
    environment = "dev"

    [stores.vault]
    plugin = "vault"
    url = "https://vault.corp.example:8200"
    namespace = "platform"
    mount = "kv"
    prefix = "billing/{environment}"
    ca_cert = "/nonexistent/ca.pem"
    auth = { method = "token", token = { env = "PRODUCTION_TOKEN" } }

    [environments.dev]
    chain = [{ store = "vault" }]

    [environments.prod]
    production = true
    chain = [{ store = "vault" }, { store = "second-vault" }]

    [environments.prod.stores.second-vault]
    plugin = "vault"
    url = ["https://vault-1.corp.example:8200", "https://vault-2.corp.example:8200"]
    mount = "team/kv"
    token = { file = "/nonexistent/token" }
"""


def run(*arguments, **settings):
    """One call of the command, whose output is piped."""
    return subprocess.run([*STRONGROOM, *arguments], capture_output=True, text=True, check=False, **settings)


@contextlib.contextmanager
def started(*arguments):
    """A call of the command that goes on meanwhile; whatever is left of it afterwards is killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*STRONGROOM, *arguments], start_new_session=True, **pipes) as called:
        try:
            yield called
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(called.pid, signal.SIGKILL)


def running(pid):
    """Whether this process is more than a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid):
    """Waits for the process to end; False when it still runs after ten seconds."""
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not running(pid)


# --- the demonstration ------------------------------------------------------------------------------------------------


def test_the_demo_shows_which_link_answered_each_read(tmp_path, monkeypatch):
    """Vault, then its cache, then its cache past its time, then the environment; and nothing is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("VAULT_ADDR", "https://vault.corp.example:8200")
    monkeypatch.setenv("VAULT_NAMESPACE", "platform")
    Path("strongroom.toml").write_text("this is not for the demo")
    shown = run("dev", "--demo")
    assert shown.returncode == 0, shown.stderr
    reads = re.findall(r"^  => (\w+) answered: (\S+)$", shown.stdout, re.MULTILINE)
    vault, environment = "postgresql://app:kept-in-vault@db.example/app", "kept-in-the-environment"
    assert [store for store, _ in reads] == ["vault", "vault", "vault", "env"]
    assert [value for _, value in reads[:3]] == [vault] * 3
    assert environment in reads[3][1]
    assert re.search(r"^  vault +found, version 1 +\d+\.\d ms$", shown.stdout, re.MULTILINE)
    assert re.search(r"^  vault +found, version 1, cached, ", shown.stdout, re.MULTILINE)
    assert re.search(r"^  vault +found, version 1, stale, ", shown.stdout, re.MULTILINE)
    assert re.search(r"^  vault +unavailable: .+\n  env +found ", shown.stdout, re.MULTILINE)
    assert "SensitiveDict('url': **********)" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert shown.stderr.count("is unavailable") == 1
    assert not running(int(re.search(r"process (\d+)", shown.stdout)[1]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("option", "coloured"), [((), True), (("--no-color",), False)])
def test_the_demo_is_coloured_on_a_terminal_unless_that_is_not_wanted(option, coloured):
    shown, status = pexpect.run(
        shlex.join([*STRONGROOM, *option, "dev", "--demo"]), withexitstatus=True,
        env={**os.environ, "TERM": "xterm-256color"}, timeout=60,
    )  # fmt: skip
    assert status == 0
    assert b"env" in shown
    assert (b"\x1b[1;32m" in shown) is coloured


def test_a_demo_that_is_killed_leaves_no_server():
    with started("dev", "--demo") as demo:
        pid = next(int(found[1]) for line in demo.stdout if (found := re.search(r"process (\d+)", line)))
        demo.kill()
        assert ends(pid)


def test_the_demo_takes_no_command():
    assert run("dev", "--demo", "true").returncode == 2


# --- a command with a server ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["/nonexistent/command"], 127),
        (["/"], 126),
    ],
)
def test_the_exit_code_is_the_commands_as_a_shell_gives_it(command, status):
    called = run("dev", "--", *command)
    assert called.returncode == status
    assert "Traceback" not in called.stderr


def test_the_command_finds_the_server_where_every_vault_client_looks():
    program = """if True:
        import os
        from strongroom import get_secret, set_secret
        set_secret("app", {"key": "value"})
        assert get_secret("app", "key") == "value"
        assert os.environ["VAULT_ADDR"] == os.environ["BAO_ADDR"]
        assert os.environ["VAULT_TOKEN"] == os.environ["BAO_TOKEN"]
        print(os.environ["VAULT_ADDR"])
    """
    called = run("dev", sys.executable, "-c", program)
    assert called.returncode == 0, called.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", called.stdout)


def test_no_environment_of_the_configuration_can_reach_its_own_server():
    """The address, the namespace, the credentials and a CA file that is not even here: each is replaced."""
    Path("strongroom.toml").write_text(CONFIGURATION)
    program = """if True:
        from strongroom import SecretsManager
        for environment, stores in (("dev", ["vault"]), ("prod", ["vault", "second-vault"])):
            with SecretsManager(environment=environment) as secrets:
                for store in stores:
                    secrets.set_secret(f"of/{store}", {"key": environment}, store=store)
                    print(secrets.resolve(f"of/{store}", "key").store, secrets.get_secret(f"of/{store}", "key"))
    """
    called = run("dev", "--", sys.executable, "-c", program)
    assert called.returncode == 0, called.stderr
    assert called.stdout.splitlines() == ["vault dev", "vault prod", "second-vault prod"]


def test_the_commands_folder_does_not_change_its_configuration(tmp_path):
    """A folder with a configuration of its own would name other servers."""
    Path("strongroom.toml").write_text(CONFIGURATION)
    theirs = CONFIGURATION.replace("stores.vault", "stores.other").replace('store = "vault"', 'store = "other"')
    (tmp_path / "strongroom.toml").write_text(theirs)
    program = f"""if True:
        import os
        os.chdir({str(tmp_path)!r})
        from strongroom import SecretsManager
        print(SecretsManager())
    """
    called = run("dev", "--", sys.executable, "-c", program)
    assert called.stdout.count("vault") == 1, called.stderr
    assert "other" not in called.stdout


def test_what_the_caller_has_for_another_server_is_not_passed_on(monkeypatch):
    """Where the secrets are on a server stays: it is the same on this one. Another store's variables stay too."""
    passed = {
        "STRONGROOM_STORES_VAULT_MOUNT": "elsewhere/kv",
        "STRONGROOM_STORES_VAULT_PREFIX": "billing",
        "STRONGROOM_STORES_VAULT_FILES_ROOT": "/run/secrets",
        "APP_SETTING": "1",
    }
    dropped = {
        "VAULT_CACERT": "/nonexistent/ca.pem",
        "BAO_NAMESPACE": "platform",
        "STRONGROOM_STORES_VAULT_CA_CERT": "/nonexistent/ca.pem",
        "STRONGROOM_STORES_VAULT_TOKEN": "production-token",
    }
    for name, value in {**passed, **dropped}.items():
        monkeypatch.setenv(name, value)
    Path("strongroom.toml").write_text('[stores.vault-files]\nplugin = "files"\nroot = "/nowhere"\n')
    called = run("dev", "env")
    given = dict(line.split("=", 1) for line in called.stdout.splitlines() if "=" in line)
    assert {name: given.get(name) for name in passed} == passed
    assert not dropped.keys() & given.keys()
    assert "production-token" not in called.stdout + called.stderr


def test_a_mount_that_a_variable_names_is_there(monkeypatch):
    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", "elsewhere/kv")
    program = 'from strongroom import set_secret, get_secret; set_secret("a", {"k": "v"}); print(get_secret("a", "k"))'
    called = run("dev", sys.executable, "-c", program)
    assert called.stdout == "v\n", called.stderr


def test_the_selected_environment_is_the_commands_too():
    Path("strongroom.toml").write_text(CONFIGURATION)
    called = run("--environment", "prod", "dev", "sh", "-c", "echo $STRONGROOM_ENVIRONMENT")
    assert called.stdout == "prod\n", called.stderr


def test_a_configuration_that_is_wrong_starts_nothing():
    Path("strongroom.toml").write_text(CONFIGURATION + "[stores.vault]\n")
    called = run("dev", "--", "echo", "started")
    assert called.returncode == 7
    assert "strongroom.toml, line" in called.stderr
    assert called.stdout == ""


def test_a_signal_goes_through_to_the_command():
    """The command decides what it means; its exit code comes back, and the server goes after it."""
    script = 'trap "echo told; exit 3" TERM; echo $VAULT_ADDR; while :; do sleep 0.01; done'
    with started("dev", "sh", "-c", script) as called:
        port = int(called.stdout.readline().strip().rsplit(":", 1)[1])
        server = _listening_on(port)
        called.send_signal(signal.SIGTERM)
        assert called.stdout.read() == "told\n"
        assert called.wait() == 3
    assert ends(server)


def test_ctrl_c_on_a_terminal_reaches_the_command_once():
    """It comes from the terminal already: passing it on as well would break the command's cleaning up."""
    program = """if True:
        import signal, time
        seen = []
        signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
        print("ready", flush=True)
        while not seen:
            time.sleep(0.01)
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            time.sleep(0.01)
        print("interrupts:", len(seen))
    """
    terminal = pexpect.spawn(STRONGROOM[0], [*STRONGROOM[1:], "dev", sys.executable, "-c", program], timeout=60)
    terminal.expect_exact("ready")
    terminal.sendintr()
    terminal.expect_exact("interrupts: 1")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


# --- a server alone ---------------------------------------------------------------------------------------------------


def test_without_a_command_it_prints_what_a_shell_can_evaluate_and_ends_with_ctrl_c():
    with started("dev") as called:
        lines = [called.stdout.readline() for _ in range(4)]
        shell = "".join(lines) + f"{IN_A_SHELL} set app key && {IN_A_SHELL} get app key"
        used = subprocess.run(["sh", "-c", shell], input="value\n", capture_output=True, text=True, check=False)
        assert used.stdout == "value", used.stderr
        server = _listening_on(int(re.search(r"VAULT_ADDR=http://127\.0\.0\.1:(\d+)", "".join(lines))[1]))
        called.send_signal(signal.SIGINT)
        assert called.wait() == 0
        assert "until Ctrl-C" in called.stderr.read()
    assert ends(server)


def test_a_detached_server_outlives_its_command_until_it_is_killed():
    """One line of a shell starts it, and `kill $DEV_SERVER_PID` ends it, with the server."""
    script = f"""
        eval "$({IN_A_SHELL} dev --detach)"
        echo value | {IN_A_SHELL} set demo/app key
        {IN_A_SHELL} get demo/app key
        echo " $DEV_SERVER_PID"
    """
    done = subprocess.run(["/bin/sh", "-ec", script], capture_output=True, text=True, check=True, timeout=60)
    value, pid = done.stdout.split()[-2:]
    try:
        assert value == "value"
        assert running(pid)
    finally:
        os.kill(int(pid), signal.SIGTERM)
    assert ends(pid)


def test_a_detached_server_that_does_not_start_is_an_error(tmp_path):
    """With the message and the exit code of the command in the foreground, and nothing to evaluate."""
    (tmp_path / "strongroom.toml").write_text("chain = 1\n")
    done = run("--config", str(tmp_path / "strongroom.toml"), "dev", "--detach")
    assert (done.stdout, done.returncode) == ("", run("--config", str(tmp_path / "strongroom.toml"), "dev").returncode)
    assert "chain" in done.stderr


def test_a_login_that_a_file_configures_is_said_to_be_outranked():
    """Otherwise each read in that shell is the root token's."""
    Path("strongroom.toml").write_text('[stores.vault]\nauth = { method = "agent" }\n', "utf-8")
    with started("dev") as called:
        lines = [called.stdout.readline() for _ in range(7)]
        assert any(line.startswith("export STRONGROOM_STORES_VAULT_AUTH=") for line in lines)
        called.send_signal(signal.SIGINT)
        assert "The variables *_AUTH outrank `auth`" in called.stderr.read()


def test_a_shell_finds_the_configuration_of_each_folder_itself():
    """A variable for ./strongroom.toml would replace the file of every other folder that the shell visits."""
    Path("strongroom.toml").write_text('[stores.vault]\nmount = "kv"\n', "utf-8")
    with started("dev") as called:
        lines = [called.stdout.readline() for _ in range(7)]
        called.send_signal(signal.SIGINT)
        assert any(line.startswith("export STRONGROOM_STORES_VAULT_URL=") for line in lines)
        assert "STRONGROOM_CONFIG" not in "".join(lines) + called.stdout.read()
        assert "outrank" not in called.stderr.read()


def test_a_shell_keeps_the_configuration_file_that_an_option_names(tmp_path):
    """Otherwise its stores would not be those that the variables redirect."""
    named = tmp_path / "named.toml"
    named.write_text('chain = ["vault"]\n', "utf-8")
    with started("--config", str(named), "dev") as called:
        lines = [called.stdout.readline() for _ in range(8)]
        called.send_signal(signal.SIGINT)
        assert f"export STRONGROOM_CONFIG={named}\n" in lines


def test_a_server_that_ends_by_itself_is_an_outage():
    with started("dev") as called:
        address = called.stdout.readline()
        os.kill(_listening_on(int(address.rsplit(":", 1)[1])), signal.SIGKILL)
        assert called.wait() == 5
        assert "the development server exited" in called.stderr.read()


# --- the redirection --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_vault_store_of_every_environment_is_redirected(encoding):
    """Also where an editor has put a byte order mark before them."""
    Path("strongroom.toml").write_text(CONFIGURATION, encoding=encoding)
    configs = command.configurations(Path("strongroom.toml"), None)
    variables = command.redirections(configs, "http://127.0.0.1:1", "dev-token")
    for environment in ("dev", "prod"):
        config = discovery.load(environment=environment, environ=variables)
        for link in config.chain:
            store = config.store(link.store)
            assert store.options["url"].value == "http://127.0.0.1:1"
            assert "dev-token" in str(store.options["auth"].value)
            assert "corp.example" not in repr([given.value for given in store.options.values()])


def _listening_on(port):
    """The process id of the server at this port."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"-config=" in (command := (process / "cmdline").read_bytes()) and not command.startswith(b"/bin/sh"):
                inodes = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
                for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                    fields = line.split()
                    listens = fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port
                    if listens and f"socket:[{fields[9]}]" in inodes:
                        return int(process.name)
    raise AssertionError(f"nobody listens on port {port}")


def test_the_secrets_of_an_env_file_are_migrated_to_the_server():
    """The next command finds each at its path below the configured mount and prefix."""
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    Path("seed.env").touch(0o600)
    Path("seed.env").write_text("DATABASE_URL=postgresql://app:canary-7f3a@db.example/app\n", "utf-8")
    script = f"{IN_A_SHELL} migrate --env-file seed.env --yes >&2 && {IN_A_SHELL} get database/connection#url"
    called = run("dev", "--", "sh", "-c", script)
    assert (called.returncode, called.stdout) == (0, "postgresql://app:canary-7f3a@db.example/app"), called.stderr
    assert "canary" not in called.stderr
