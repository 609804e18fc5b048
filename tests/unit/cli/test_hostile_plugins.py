"""Every command with a plugin that exits, raises or prints: it neither succeeds, nor shows a value, nor adds output."""

import json
import os
import re
import subprocess
import sys
import threading
import types
from concurrent.futures import wait
from pathlib import Path

import click
import pytest

from strongroom import _plugins as plugins
from strongroom._cli import app, registry
from strongroom._cli.app import strongroom
from strongroom._cli.exit_codes import ExitCode
from strongroom.migrate._execution import parallel

CANARY = "canary-77d1"

STORE = f"""
    import asyncio
    import os
    import sys
    from strongroom.store import Traits
    from strongroom.store.memory import MemoryStore

    print("printed at import")
    KINDS = {{"SystemExit": SystemExit, "CancelledError": asyncio.CancelledError, "GeneratorExit": GeneratorExit}}
    METHODS = ("read", "read_many", "list_entries", "write", "write_if", "write_many", "delete",
               "versions", "read_version", "kept_versions", "undelete", "destroy", "read_metadata", "write_metadata",
               "probe", "close")
    failed = []
    called = []

    def fail(name):
        plain = "{CANARY} in a variable"
        method, _, kind = os.environ.get("HOSTILE", "").partition(":")
        print("printed in", name)
        sys.stdout.buffer.write(b"printed too")
        called.append(name)
        if name == method:
            failed.append(name)
            raise KINDS[kind](0)

    class Hostile(MemoryStore):
        traits = Traits()  # a migration opens a local target anew

    def wrapped(name):
        def method(self, *arguments):
            fail(name)
            return getattr(MemoryStore, name)(self, *arguments)
        return method

    for name in METHODS:
        setattr(Hostile, name, wrapped(name))

    def open_hostile() -> Hostile:
        fail("open")
        store = MemoryStore.__new__(Hostile)
        MemoryStore.__init__(store)
        for value in ("old", "{CANARY}"):
            MemoryStore.write(store, "app/db", {{"password": value}})
        if os.environ.get("DELETED"):
            MemoryStore.delete(store, "app/db")
        return store

    open_hostile.check = lambda: fail("check")
"""

CONFIGURATION = """
chain = ["hostile"]
[stores.hostile]
[secrets]
PASSWORD = "app/db#password"
"""

COMMANDS = {
    "get": ("get", "app/db", "password"),
    "get a whole secret": ("get", "app/db", "--json"),
    "list": ("list", "app"),
    "list all": ("list", "--recursive"),
    "explain": ("explain", "app/db"),
    "run": ("run", "--", sys.executable, "-c", ""),
    "export": ("export", "--format", "json"),
    "set": ("set", "app/db", "user"),
    "set all": ("set", "app/db", "user", "--replace", "--yes"),
    "delete": ("delete", "app/db", "--yes"),
    "history": ("history", "app/db"),
    "diff": ("diff", "app/db", "--versions", "1", "2"),
    "diff of stores": ("diff", "hostile", "json:b.json"),
    "rollback": ("rollback", "app/db", "1"),
    "undelete": ("undelete", "app/db", "2"),
    "destroy": ("destroy", "app/db", "1", "--yes"),
    "migrate from": ("migrate", "--from", "hostile", "--to", "json:new.json", "--yes"),
    "migrate to": ("migrate", "--from", "json:b.json", "--to", "hostile", "--yes"),
    "copy from": ("copy", "app/db", "--from", "hostile", "--to", "json:new.json"),
    "copy to": ("copy", "app/other", "--from", "json:b.json", "--to", "hostile"),
    "check": ("check",),
    "doctor": ("doctor",),
    "config check": ("config", "check"),
}
METHODS = (
    "open",
    "check",
    "read",
    "read_many",
    "list_entries",
    "write",
    "write_if",
    "write_many",
    "delete",
    "versions",
    "read_version",
    "kept_versions",
    "undelete",
    "destroy",
    "read_metadata",
    "write_metadata",
    "probe",
)

HARMLESS = {("migrate to", "list_entries")}  # the listing of a target only saves reads


@pytest.fixture
def hostile(search_path, monkeypatch):
    """A plugin that fails or prints in each of its methods, as HOSTILE says. `run` starts its command in vain."""

    def start(*_):
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(os, "execvpe", start)
    search_path.install("hostile-secrets", {"hostile": "hostile_store:open_hostile"}, modules={"hostile_store": STORE})
    Path("strongroom.toml").write_text(CONFIGURATION)
    Path("b.json").write_text('{"app/other": {"password": "x"}}')
    Path("b.json").chmod(0o600)


@pytest.mark.parametrize("kind", ["SystemExit", pytest.param("CancelledError", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", COMMANDS)
def test_command_fails_if_its_plugin_raises(hostile, command, monkeypatch, name, kind):
    """A plugin that raises SystemExit(0) in any method does not make a command succeed, and no value is shown."""
    monkeypatch.delitem(sys.modules, "hostile_store", raising=False)
    if name == "undelete":
        monkeypatch.setenv("DELETED", "1")
    command(*COMMANDS[name], piped=b"value")
    plugin = sys.modules["hostile_store"]
    called = [method for method in METHODS if method in plugin.called]  # no other one of them can raise
    assert called, "no method of the plugin was called"
    for method in called:
        monkeypatch.setenv("HOSTILE", f"{method}:{kind}")
        Path("new.json").unlink(missing_ok=True)
        done = command("--verbose", *COMMANDS[name], piped=b"value")
        assert method in plugin.failed
        assert done.code not in {0, 130} or (name, method) in HARMLESS, method
        assert kind in done.err
        plugin.failed.clear()
        assert CANARY not in done.err
        assert "Traceback" not in done.err
        if done.code != 0:
            assert CANARY.encode() not in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_output_of_a_plugin_is_none_of_the_command(hostile, command, monkeypatch, name):
    """A plugin's output is on stderr: a pipe reads stdout."""
    monkeypatch.delitem(sys.modules, "hostile_store", raising=False)
    if name == "undelete":
        monkeypatch.setenv("DELETED", "1")
    done = command(*COMMANDS[name], piped=b"value")
    assert done.code == (10 if name in {"diff", "diff of stores"} else 0), done.err
    assert b"printed" not in done.out
    assert "printed at import" in done.err
    assert all(f"printed in {method}" in done.err for method in sys.modules["hostile_store"].called)


HANGING = """
    import threading

    class Hanging:
        def hang(self, *_):
            threading.Event().wait()

        read = write = delete = list_entries = probe = close = hang

    def open_hostile() -> Hanging:
        return Hanging()
"""


@pytest.mark.parametrize("name", ["get", "list", "set all", "delete", "doctor"])
def test_command_ends_although_its_plugin_hangs(search_path, command, name):
    """It fails at its deadline, with the store's name. Its `close` hangs too."""
    search_path.install("hostile-secrets", {"hostile": "hanging:open_hostile"}, modules={"hanging": HANGING})
    Path("strongroom.toml").write_text(f"timeout = 0.1{CONFIGURATION}")
    done = command(*COMMANDS[name], piped=b"value")
    assert done.code != 0
    assert "hostile" in done.err
    assert re.search("in time|all the time", done.err + done.out.decode())


@pytest.mark.parametrize("source", ["import held\nheld.end.wait()", "raise ValueError"])
def test_help_and_completion_list_a_command_that_cannot_be_loaded(search_path, command, monkeypatch, source):
    """By name, and do not wait for an import that hangs. The other commands have their summaries."""
    held = types.ModuleType("held")
    held.end = threading.Event()
    monkeypatch.setitem(sys.modules, "held", held)
    monkeypatch.setattr(registry, "_LONGEST_LOAD", 0.1)
    search_path.install(
        "hostile", {"fetch": "fetching:fetch"}, group="strongroom.commands", modules={"fetching": source}
    )
    try:
        done = command("--help")
        completed = {item.value for item in strongroom.shell_complete(click.Context(strongroom), "")}
    finally:
        held.end.set()
    assert done.code == 0
    assert re.search(r"^  fetch ", done.out.decode(), re.MULTILINE)
    assert b"Check the health of every store" in done.out
    assert {"fetch", "get"} <= completed


HANGING_PARTS = """
    import threading
    import click
    from strongroom import get_secret

    def hang(*_):
        threading.Event().wait()

    def opener(*methods):
        plugin = type("Hanging", (), dict.fromkeys((*methods, "close"), hang))

        def open_hostile() -> plugin:
            return plugin()

        return open_hostile

    store, importer, exporter = opener("read"), opener("items"), opener("write")

    @click.command()
    def fetch():
        get_secret("app/db", "password")
"""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("migrate", "--from", "slow-source", "--to", "json:new.json", "--yes"), "slow-source"),
        (("migrate", "--from", "json:b.json", "--to", "slow-target", "--yes"), "slow-target"),
        (("fetch",), "hostile"),
    ],
)
def test_importer_exporter_and_command_that_hang_end_at_their_deadline(
    search_path, command, monkeypatch, arguments, named
):
    """Each is named. What hangs in the close is not awaited either."""
    monkeypatch.setattr(parallel, "RETRY_DELAYS", ())
    search_path.install("hostile-secrets", {"hostile": "hanging:store"}, modules={"hanging": HANGING_PARTS})
    for kind, name in (("importer", "slow-source"), ("exporter", "slow-target"), ("command", "fetch")):
        function = "fetch" if kind == "command" else kind
        search_path.install(f"hostile-{kind}", {name: f"hanging:{function}"}, group=f"strongroom.{kind}s")
    Path("strongroom.toml").write_text(f"timeout = 0.1{CONFIGURATION}")
    Path("b.json").write_text('{"app/other": {"password": "x"}}')
    Path("b.json").chmod(0o600)
    done = command(*arguments)
    assert done.code not in {0, 130}
    assert named in done.err
    assert re.search("in time|all the time", done.err + done.out.decode())


ASYNCHRONOUS_CLOSE = """
    class Hanging:
        def read(self, path):
            raise LookupError

        def list_entries(self, prefix):
            return iter(())

        async def close(self):
            pass

    def open_hostile() -> Hanging:
        return Hanging()
"""


def test_store_whose_close_is_a_coroutine_is_refused(search_path, command, recwarn):
    """Nobody would await it."""
    search_path.install("hostile-secrets", {"hostile": "hanging:open_hostile"}, modules={"hanging": ASYNCHRONOUS_CLOSE})
    Path("strongroom.toml").write_text(CONFIGURATION)
    done = command("list")
    assert done.code == ExitCode.CONFIGURATION
    assert "close() of hanging.Hanging is asynchronous" in done.err
    assert [str(one.message) for one in recwarn.list] == []


NOISY = """
    import atexit
    import threading
    from strongroom import Secret

    atexit.register(print, "printed at exit")

    class Noisy:
        def read(self, path):
            thread = threading.Thread(target=print, args=["printed in a thread"])
            thread.start()
            thread.join()
            return Secret(path, {"password": "plain"})

        def close(self):
            pass

    def open_hostile() -> Noisy:
        return Noisy()
"""


@pytest.fixture
def stderr_of_get(search_path, script, tmp_path):
    """Return a function that gets a secret in a process whose plugin has this source. It returns stderr."""

    def get(source: str) -> str:
        search_path.install("hostile-secrets", {"hostile": "loose:open_hostile"}, modules={"loose": source})
        Path("strongroom.toml").write_text(CONFIGURATION)
        environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
        done = subprocess.run(
            [script, "get", "app/db", "password"], env=environ, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "plain"
        return done.stderr

    return get


def test_output_of_threads_and_at_exit_is_none_of_the_command(stderr_of_get):
    """A plugin may print when none of its calls is in progress."""
    assert stderr_of_get(NOISY) == "printed in a thread\nprinted at exit\n"


LOOSE = f"""
    import atexit
    import threading
    from strongroom import Secret

    class Loose:
        def read(self, path):
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
            return Secret(path, {{"password": "plain"}})

        def __del__(self):
            raise KeyError("{CANARY}")

        def close(self):
            pass

    def fail(*_):
        raise ValueError("{CANARY}")

    atexit.register(fail)

    def open_hostile() -> Loose:
        return Loose()
"""


def test_dropped_exceptions_of_a_plugin_show_no_value(stderr_of_get):
    """Of its threads, its destructors and its handlers at exit: only the class is named."""
    stderr = stderr_of_get(LOOSE)
    assert CANARY not in stderr
    assert sorted(stderr.splitlines()) == [
        f"strongroom: Unexpected failure in the background: {n}" for n in ("KeyError", *["ValueError"] * 2)
    ]


@pytest.mark.parametrize("kind", ["SystemExit(0)", "GeneratorExit"])
def test_stores_lists_the_others(search_path, command, kind):
    """A plugin that exits when it is imported does not end `strongroom stores`."""
    search_path.install("hostile-secrets", {"hostile": "bad_store:nothing"}, modules={"bad_store": f"raise {kind}"})
    done = command("stores")
    assert done.code == ExitCode.CONFIGURATION
    assert b"loading it raised" in done.out
    assert b"memory" in done.out


GROUPS = ("stores", "importers", "exporters", "rotators", "commands")


@pytest.fixture
def held(search_path, monkeypatch):
    """Install a plugin of each kind whose import hangs until the end of the test; return the distribution."""
    module = types.ModuleType("held")
    module.end = threading.Event()
    monkeypatch.setitem(sys.modules, "held", module)
    monkeypatch.setattr(plugins, "_LONGEST_EXAMINATION", 0.1)
    monkeypatch.setattr(app, "_LONGEST_IMPORT", 0.1)
    source = "import held\nheld.imports = True\nheld.end.wait()"
    for group in GROUPS:
        search_path.install(
            f"held-{group}",
            {"hostile": f"held_{group}:nothing"},
            group=f"strongroom.{group}",
            modules={f"held_{group}": source},
        )
    yield module
    module.end.set()
    wait(plugins._slow.values(), 60)  # or the next test would find an import of this distribution under way


@pytest.mark.parametrize("arguments", [("stores",), ("stores", "hostile"), ("plugins",), ("plugins", "--json")])
def test_list_names_a_plugin_whose_import_hangs(held, command, arguments):
    """With its distribution, and the exit code of a plugin that cannot be used. The others are listed."""
    done = command(*arguments)
    assert done.code == ExitCode.CONFIGURATION
    for group in GROUPS if arguments[0] == "plugins" else GROUPS[:1]:
        assert (
            f"hostile of held-{group} 1.2 is broken: the import of held_{group} takes longer than 0.1 s".encode()
            in done.out
        )
    assert b"memory" in done.out or arguments[-1] == "hostile"
    assert held.imports


@pytest.mark.parametrize("source", ["", "[stores.hostile]", "[rotation.'app/db']\nrotator = 'hostile'"])
def test_run_imports_no_plugin_that_the_configuration_does_not_use(held, command, monkeypatch, source):
    """It starts its command. One that the configuration uses, and whose import hangs, is named."""
    started = []

    def start():
        raise click.exceptions.Exit(0)

    monkeypatch.setattr(os, "execvpe", lambda *given: started.append(given) or start())
    Path("strongroom.toml").write_text(f"""
        chain = ["memory"]
        [stores.memory.secrets."app/db"]
        password = "x"
        [secrets]
        PASSWORD = "app/db#password"
        {source}
    """)
    done = command("run", "--", "program")
    assert bool(started) is (not source), done.err
    assert hasattr(held, "imports") is bool(source)
    if source:
        assert done.code == ExitCode.CONFIGURATION
        assert re.search("hostile of held-(stores|rotators) 1.2 is broken: the import of held_", done.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "app/db", "password"),
        ("config", "check"),
        ("migrate", "--from", "hostile", "--to", "json:new.json", "--yes"),
        ("migrate", "--from", "json:b.json", "--to", "hostile", "--yes"),
        ("hostile",),
    ],
)
def test_plugin_that_a_command_needs_is_named_if_its_import_hangs(held, command, arguments):
    """The command fails, and does not wait for ever."""
    Path("strongroom.toml").write_text(CONFIGURATION)
    Path("b.json").write_text('{"app/other": {"password": "x"}}')
    Path("b.json").chmod(0o600)
    done = command(*arguments)
    assert done.code == ExitCode.CONFIGURATION
    assert re.search(r"hostile of held-\w+ 1.2 is broken: the import of held_", done.err)


def test_import_that_hangs_delays_one_plugin_of_its_distribution(search_path, command, monkeypatch):
    """A second one of the distribution is refused at once: it might wait for the lock of the same module."""
    module = types.ModuleType("held")
    module.end = threading.Event()
    module.times = []
    monkeypatch.setitem(sys.modules, "held", module)
    monkeypatch.setattr(plugins, "_LONGEST_EXAMINATION", 0.1)
    source = "import held\nheld.times.append(1)\nheld.end.wait()"
    points = {"one": "held_one:nothing", "two": "held_two:nothing"}
    search_path.install("held-both", points, modules={"held_one": source, "held_two": source})
    done = command("stores")
    module.end.set()
    assert done.out.count(b"of held-both 1.2 is broken: the import of held_") == 2
    assert module.times == [1]


ODD = f"""
    import os
    from strongroom import Secret, SecretNotFoundError
    from strongroom.store import Health

    class Odd:
        held = {{"a": {{"key": "{CANARY}"}}}}

        def read(self, path):
            if os.environ.get("ODD") == "read":
                return self.broken("{CANARY}")
            if path not in self.held:
                raise SecretNotFoundError(path)
            return Secret(path, self.held[path])

        def broken(self, value):
            raise KeyError(value)

        def list_entries(self, prefix):
            yield from ["/", "", "a"] if os.environ.get("ODD") == "names" else self.held

        def write(self, path, data):
            self.broken("{CANARY}")

        def delete(self, path):
            pass

        def probe(self):
            return "{CANARY}" if os.environ.get("ODD") == "probe" else Health(ok=True)

        def close(self):
            pass

    def open_odd() -> Odd:
        return Odd()
"""


@pytest.fixture
def odd(search_path, monkeypatch):
    """A chain of the plugins `odd` and `memory`, and a file of secrets. Return a function that gives `odd` a fault."""
    search_path.install("odd-secrets", {"odd": "odd_store:open_odd"}, modules={"odd_store": ODD})
    Path("strongroom.toml").write_text('chain = ["odd", "memory"]\n')
    Path("b.json").write_text('{"b": {"key": "x"}}')
    Path("b.json").chmod(0o600)
    return lambda fault: monkeypatch.setenv("ODD", fault)


def test_wrong_health_of_one_store_leaves_the_others_in_doctor(odd, command):
    """It is a failed check of that store."""
    odd("probe")
    done = command("doctor", "--json")
    stores = {store["store"]: store for store in json.loads(done.out)["stores"]}
    assert stores["memory"]["state"] == "ok"
    assert stores["odd"]["state"] == "failed"
    assert "probe() returned str, expected Health" in json.dumps(stores["odd"])
    assert CANARY not in f"{done.out}{done.err}"


def test_verbose_names_file_and_line_in_the_plugin(odd, command):
    """The innermost line of the plugin, and no value."""
    odd("read")
    done = command("--verbose", "get", "a", "key")
    file = sys.modules["odd_store"].__file__
    line = ODD.splitlines().index("            raise KeyError(value)") + 1
    assert f"Store odd raised KeyError at {file}:{line} in broken" in done.err
    assert CANARY not in done.err


@pytest.mark.parametrize(
    ("fault", "source", "target", "named"),
    [
        ("read", "odd", "json:new.json", "odd\ta\t\tthe store failed: it raised KeyError"),
        ("", "json:b.json", "odd", "store odd: it raised KeyError"),
    ],
)
def test_migration_names_the_store_that_failed(odd, command, fault, source, target, named):
    """The source or the target, and no value."""
    odd(fault)
    done = command("migrate", "--from", source, "--to", target, "--yes")
    shown = done.err + done.out.decode()
    assert done.code not in {0, 130}
    assert named in shown
    assert CANARY not in shown


def test_entry_named_slash_is_an_entry_and_no_folder(odd, command):
    """A listing and a migration end, and have the other names only."""
    odd("names")
    assert command("list", "--recursive").out.splitlines() == [b"a"]
    command("migrate", "--from", "odd", "--to", "json:new.json", "--yes")
    assert json.loads(Path("new.json").read_text()) == {"a": {"key": CANARY}}


QUOTING = """
    from strongroom.errors import ConfigurationError, InvalidDataError, StoreUnavailableError
    from strongroom.store.memory import MemoryStore

    class QuotingError(StoreUnavailableError):
        def __init__(self, path, value):
            super().__init__(path, "as it is")
            self.value = value

        def __str__(self):
            return f"no {self.value}"

    class Quoting(MemoryStore):
        how = "reason"

        def write(self, path, data):
            value = str(data["key"])
            error = {
                "reason": InvalidDataError(path, f"cannot store {value!r}"),
                "hint": InvalidDataError(path, hint=f"Do not write {value}"),
                "note": StoreUnavailableError(path),
                "class": QuotingError(path, value),
                "other": ConfigurationError(f"cannot store {value}"),
            }[self.how]
            error.add_note(value)
            raise error from ValueError(value)

        def write_if(self, path, data, expected):
            self.write(path, data)

    def open_quoting() -> Quoting:
        store = Quoting()
        MemoryStore.write(store, "app/old", {"key": "CANARY", "other": "kept"})
        return store
"""


@pytest.mark.parametrize("how", ["reason", "hint", "note", "class", "other"])
@pytest.mark.parametrize(
    "arguments", [("set", "app/db", "key"), ("set", "app/old", "other"), ("set", "app/db", "key", "--replace", "--yes")]
)
def test_error_that_quotes_a_value_shows_none(search_path, command, monkeypatch, how, arguments):
    """Neither one that is written, nor one that was read before to be kept."""
    monkeypatch.delitem(sys.modules, "quoting", raising=False)
    source = QUOTING.replace('how = "reason"', f'how = "{how}"').replace("CANARY", CANARY)
    search_path.install("quoting-secrets", {"quoting": "quoting:open_quoting"}, modules={"quoting": source})
    Path("strongroom.toml").write_text('chain = ["quoting"]')
    done = command("--verbose", *arguments, piped=CANARY.encode())
    assert done.code not in {0, 2}, done.err
    assert CANARY not in f"{done.out} {done.err}"
    assert how not in {"reason", "hint", "other"} or "**********" in done.err
