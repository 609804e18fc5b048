"""`strongroom plugins`: every installed entry point, with its distribution, protocol version and fault."""

import json

import pytest

from strongroom._plugins import COMMANDS, IMPORTERS, STORES
from support.command_line import call_on_terminal

STORE = """
    from strongroom import Secret
    from strongroom.store import Traits

    class {name}Store:
        traits = Traits(protocol={protocol})

        def read(self, path):
            return Secret(path=path, data={{}})

        def close(self):
            pass

    def open_store(*, region: str = "eu") -> {name}Store:
        raise AssertionError("an inventory opens nothing")
"""


def listed(command, code: int = 0) -> dict[tuple[str, str, str], dict]:
    """Every plugin of the document by group, name and distribution."""
    done = command("plugins", "--json")
    assert done.code == code
    document = json.loads(done.out)
    assert (list(document), document["version"], document["ok"]) == (["version", "ok", "plugins"], 1, code == 0)
    rows = {(row["group"], row["name"], row["distribution"]): row for row in document["plugins"]}
    assert len(rows) == len(document["plugins"])
    return rows


def test_own_plugins_of_all_groups_are_listed_without_fault(command):
    """Of every group that the distribution registers; the protocol's version is that of stores alone."""
    rows = listed(command)
    kinds = {row["kind"] for row in rows.values()}
    assert {"store", "importer", "exporter", "rotator", "command"} <= kinds
    assert {row["fault"] for row in rows.values()} == {None}
    assert rows[STORES, "vault", "strongroom"] == {
        "name": "vault",
        "kind": "store",
        "group": "strongroom.stores",
        "target": "strongroom_vault.plugin:open_vault",
        "distribution": "strongroom",
        "version": rows[STORES, "memory", "strongroom"]["version"],
        "protocol": 1,
        "fault": None,
    }
    assert rows[IMPORTERS, "csv", "strongroom"]["protocol"] is None


FAULTY = {
    "an exception": ("corp:open_store", "raise ValueError('canary-77')", "loading it raised ValueError"),
    "an exit": ("corp:open_store", "raise SystemExit(0)", "loading it raised SystemExit"),
    "a missing attribute": ("corp:open_other", STORE.format(name="Corp", protocol=1), "broken"),
    "a missing module": ("corp:open_store", "import no_such_module_here", "needs no_such_module_here"),
    "no callable": ("corp:open_store", "open_store = 5", "is not callable"),
    "no type hint": ("corp:open_store", "def open_store(*, region): ...", "its option region has no type hint"),
    "a newer protocol": ("corp:open_store", STORE.format(name="Corp", protocol=99), "needs store protocol 99"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_plugin_that_cannot_be_used_is_a_row_with_its_fault(search_path, command, fault):
    """The other plugins are listed as ever. The exit code is that of an invalid plugin."""
    target, source, said = FAULTY[fault]
    search_path.install("corp-secrets", {"corp": target}, modules={"corp": source})
    rows = listed(command, code=7)
    row = rows[STORES, "corp", "corp-secrets"]
    assert said in row["fault"]
    assert "canary" not in row["fault"]
    assert row["version"] == "1.2"
    assert [key for key, other in rows.items() if other["fault"]] == [(STORES, "corp", "corp-secrets")]
    done = command("plugins")
    assert done.code == 7
    assert done.err.splitlines()[-1] == f"strongroom: 1 of {len(rows)} plugins cannot be used"


def test_name_of_two_distributions_is_a_row_of_each(search_path, command):
    """Both have the fault, which names both."""
    source = STORE.format(name="Corp", protocol=1)
    for distribution in ("one-secrets", "two-secrets"):
        search_path.install(distribution, {"corp": "corp:open_store"}, modules={"corp": source})
    rows = listed(command, code=7)
    faults = {rows[STORES, "corp", distribution]["fault"] for distribution in ("one-secrets", "two-secrets")}
    assert len(faults) == 1
    assert "one-secrets 1.2" in (fault := faults.pop())
    assert "two-secrets 1.2" in fault


def test_misspelled_group_is_a_fault(search_path, command):
    """Nothing would ever load the plugin. The fault names the group that was meant, and the plugin is not loaded."""
    search_path.install("corp-secrets", {"corp": "corp:open"}, modules={"corp": "raise 1"}, group="strongroom.store")
    row = listed(command, code=7)["strongroom.store", "corp", "corp-secrets"]
    assert "no entry-point group strongroom.store; did you mean" in row["fault"]
    assert '"strongroom.stores"' in row["fault"]


def test_credential_variables_are_no_plugins(search_path, command):
    """Their group has the names of variables, and nothing to load."""
    search_path.install("corp-x", {}, credential_variables={"CORP_KEY": "corp_store"})
    assert "strongroom.credential_variables" not in {group for group, _, _ in listed(command)}


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("extra", "import click\nadded = click.Command('extra')", None),
        ("extra", "added = print", "is not a click command"),
        ("get", "import click\nadded = click.Command('get')", "The command get is built in"),
    ],
)
def test_command_of_a_plugin_is_checked(search_path, command, name, source, said):
    """An object that is not a command, or a name that is built in, is a fault."""
    modules = {"corp": source.replace("\n", "\n    ").join(["    ", ""])}
    search_path.install("corp-secrets", {name: "corp:added"}, modules=modules, group=COMMANDS)
    fault = listed(command, code=7 if said else 0)[COMMANDS, name, "corp-secrets"]["fault"]
    assert fault is None if said is None else said in fault


def test_row_in_a_pipe_has_six_fields(search_path, command):
    """Name, kind, distribution, version, protocol and fault, with tabs between them."""
    search_path.install("corp-secrets", {"corp": "corp:open"}, modules={"corp": "raise KeyError('\\t')"})
    rows = [line.split("\t") for line in command("plugins").out.decode().splitlines()]
    assert {len(row) for row in rows} == {6}
    assert ["memory", "store", "strongroom"] in [row[:3] for row in rows]
    (corp,) = (row for row in rows if row[0] == "corp")
    assert corp[:5] == ["corp", "store", "corp-secrets", "1.2", ""]
    assert corp[5].endswith(f"loading it raised KeyError ({search_path.file('corp')}:1)")


def test_table_fits_into_eighty_columns(search_path):
    """With a fault that is longer than its column, too: it is wrapped, and its row has the whole name."""
    search_path.install("corp-secrets", {"corp": "corp:open"}, modules={"corp": "raise KeyError"})
    code, screen = call_on_terminal(["--no-color", "plugins"])
    assert code == 7
    lines = screen.splitlines()
    assert max(map(len, lines)) <= 80
    assert next(line.split() for line in lines if line.startswith("  memory "))[:3] == ["memory", "store", "strongroom"]
    assert "  corp-secrets " in screen
    assert "1 of " in lines[-1]
