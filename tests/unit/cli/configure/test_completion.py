"""Completion on Tab: what a shell is offered, and that a failure offers nothing and says nothing."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pytest

from strongroom._cli import app
from strongroom._cli.app import strongroom
from strongroom._cli.configure import completion
from support.clock import LONG
from support.representatives import some

CANARY = "canary-7f3a"
SHELLS = ("bash", "zsh", "fish")

MEMORY = """
environment = "dev"
environments.dev.chain = ["memory"]
environments.prod.chain = ["memory"]
secrets.DSN = "monitoring/sentry#dsn"

[rotation."app/config"]
rotator = "password"
[rotation."lone/some/secret"]
rotator = "password"

[stores.memory.secrets]
"app/config" = { password = "canary-7f3a", "with space" = "canary-7f3a", "--yes" = "canary-7f3a", "$(id)" = "x" }
"database/connection" = { host = "canary-7f3a", port = 5432 }
"database/$(touch pwned)" = { a = "canary-7f3a" }
"lone/some/secret" = { a = "canary-7f3a" }
"odd" = { "a#b" = "canary-7f3a", ash = "canary-7f3a" }
"odd#ash" = { key = "canary-7f3a" }
"services/web" = { a = "canary-7f3a" }
"services/api" = { a = "canary-7f3a" }
"""


@pytest.fixture
def script(patient_script) -> str:
    return patient_script


def environ_of(words: Sequence[str], shell: str) -> dict[str, str]:
    """What a shell sets when it asks for the last of these words."""
    last = words[-1] if shell == "fish" else str(len(words))
    return {
        "_STRONGROOM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(("strongroom", *words)),
        "COMP_CWORD": last,
    }


def offered_in(printed: str, shell: str) -> list[str]:
    """The words in what the command prints for a shell."""
    assert CANARY not in printed
    lines = printed.strip("\n").splitlines()
    return lines[1::3] if shell == "zsh" else [line.partition(",")[2].partition("\t")[0] for line in lines]


@pytest.fixture
def tab(capsys, monkeypatch):
    """What each shell is offered for the words before the cursor, the last of which is not yet whole."""
    monkeypatch.setattr(completion, "CHAIN_TIME", 60)  # of a busy machine
    logging.getLogger().removeHandler(app.log_handler)  # of an earlier command in this process

    def press(*words: str, shell: str = "bash") -> list[str]:
        with monkeypatch.context() as patched:
            for name, text in environ_of(words, shell).items():
                patched.setenv(name, text)
            with pytest.raises(SystemExit):
                strongroom.main([], prog_name="strongroom", complete_var=completion.VARIABLE)
        out, err = capsys.readouterr()
        assert err == ""
        return offered_in(out, shell)

    return press


@pytest.fixture
def configured() -> None:
    """`./strongroom.toml` with secrets in memory, some under names that a shell would run."""
    Path("strongroom.toml").write_text(MEMORY, "utf-8")


@pytest.fixture
def process_tab(script):
    """The same of a process, as a shell starts it."""

    def press(*words: str, shell: str = "bash") -> list[str]:
        environ = {**os.environ, **environ_of(words, shell)}
        done = subprocess.run([script], capture_output=True, text=True, env=environ, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return offered_in(done.stdout, shell)

    return press


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("del",), ["delete"]),
        (("get", "--rev"), ["--reveal"]),
        (("get", "da"), ["database/connection"]),
        (("get", ""), ["app/", "database/", "lone/", "monitoring/", "odd", "services/"]),
        (("get", "lo"), ["lone/some/secret"]),
        (("get", "services/"), ["services/api", "services/web"]),
        (("get", "app/config#"), ["app/config#--yes", "app/config#password"]),
        (("get", "app/config", ""), ["password"]),
        (("get", "database/connection#h"), ["database/connection#host"]),
        (("get", "monitoring/"), ["monitoring/sentry"]),
        (("get", "od"), ["odd"]),
        (("get", "odd#"), ["odd#ash"]),
        (("get", "odd", ""), ["a#b", "ash"]),
        (("get", "odd#ash", ""), ["key"]),
        (("delete", "odd#"), ["odd#ash"]),
        (("get", "monitoring/sentry#"), ["monitoring/sentry#dsn"]),
        (("set", "database/connection", "po"), ["port"]),
        (("set", "app/config", "--store", ""), ["memory"]),
        (("delete", "services/w"), ["services/web"]),
        (("rollback", "services/w"), ["services/web"]),
        (("rollback", "services/web", ""), ["1"]),
        (("destroy", "services/web", "1", ""), ["1"]),
        (("diff", "services/web", "--versions", ""), ["1"]),
        (("diff", "services/web", "--versions", "1", ""), ["1"]),
        (("list", "s"), ["services/"]),
        *((("rotate", name, ""), ["app/config", "lone/some/secret"]) for name in ("now", "resume", "undo", "history")),
        (("rotate", "status", "odd", "a"), ["app/config"]),
        (("--environment", ""), ["dev", "prod"]),
        (("--environment", "dev", "get", "da"), ["database/connection"]),
        (("stores", "me"), ["memory"]),
        (("migrate", "--from", "me"), ["memory"]),
        (("migrate", "--to", "va"), ["vault", "vault-dynamic"]),
        (("copy", "database/connection", "--to", "js"), ["json"]),
        (("migrate", "un"), ["undo"]),
        (("migrate", "undo", ""), []),
        (("get", "nothing/like/this"), []),
        (("get", "../"), []),
        (("get", "a//"), []),
        (("get", "app/none#"), []),
    ],
)
def test_what_is_offered(tab, shell, words, offered):
    """Paths one folder at a time, keys after a # or as the next word; never a name that a shell would run."""
    assert tab(*words, shell=shell) == offered


@pytest.mark.parametrize("word", ["strongroom.t", ""])
def test_the_shell_completes_the_words_of_run(tab, capsys, monkeypatch, word):
    """As files: click marks the word for it."""
    for name, text in environ_of(("run", "--", "sh", word), "bash").items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SystemExit):
        strongroom.main([], prog_name="strongroom", complete_var=completion.VARIABLE)
    assert capsys.readouterr().out == f"file,{word}\n"


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("shell", SHELLS)
def test_a_process_offers_the_same(process_tab, shell):
    """What is above is offered by the process of the test."""
    assert process_tab("get", "app/config#", shell=shell) == ["app/config#--yes", "app/config#password"]
    assert process_tab("undelete", "services/none", "", shell=shell) == []


def test_a_server_that_is_gone_or_silent_costs_a_moment_and_no_word(tab, monkeypatch):
    """What `[secrets]` names is offered all the same."""
    monkeypatch.setattr(completion, "CHAIN_TIME", 0.2)
    monkeypatch.setenv("VAULT_TOKEN", CANARY)
    Path("strongroom.toml").write_text('secrets.DSN = "monitoring/sentry#dsn"\n', "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert tab("get", "mon") == ["monitoring/sentry"]
        assert tab("get", "monitoring/sentry#") == ["monitoring/sentry#dsn"]
    assert tab("get", "mon") == ["monitoring/sentry"]


@pytest.mark.parametrize(
    "text", some(["chain = [", 'chain = ["none"]', 'chain = "canary-7f3a"'], lambda text: text.startswith("chain = ["))
)
def test_a_configuration_that_is_wrong_offers_nothing(process_tab, text):
    """A command that is run says what is wrong with it."""
    Path("strongroom.toml").write_text(text, "utf-8")
    assert process_tab("get", "a") == []
    assert process_tab("get", "a#") == []
    assert process_tab("get", "--rev") == ["--reveal"]


def test_a_store_that_does_not_keep_to_its_time_is_left():
    """A shell that hangs on Tab is one that a person closes."""
    program = """if True:
        import threading
        from strongroom._cli.configure import completion
        from strongroom._cli import main, registry
        completion.WHOLE_TIME = 0.2
        registry.load = lambda name: threading.Event().wait()
        main.main([])
    """
    environ = {"_STRONGROOM_COMPLETE": "bash_complete", "COMP_WORDS": "strongroom get a", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={**os.environ, **environ}, timeout=LONG, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_what_click_makes(command, shell):
    """It names our command and the variable that `main` looks for."""
    done = command("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert f"_STRONGROOM_COMPLETE={shell}_complete".encode() in done.out
    assert command("completion", "tcsh").code == 2


@pytest.mark.usefixtures("configured")
def test_in_a_real_bash_a_tab_completes_a_path_and_a_key(script):
    """Typed at a terminal; the line that results is one that works."""
    environ = {**os.environ, "PATH": f"{Path(script).parent}:{os.environ['PATH']}", "PS1": "ready$ ", "TERM": "dumb"}
    bash = pexpect.spawn("bash", ["--norc", "--noprofile", "-i"], env=environ, encoding="utf-8", timeout=LONG)
    try:
        bash.expect_exact("ready$ ")
        bash.sendline('eval "$(strongroom completion bash)"; echo loa""ded')
        bash.expect_exact("loaded")
        bash.send("strongroom get --json dat\t")
        bash.expect_exact("database/connection ")
        bash.send("po\t")
        bash.expect_exact("port ")
        bash.sendline("| tr 5 6")
        bash.expect_exact("6432")
    finally:
        bash.close(force=True)
