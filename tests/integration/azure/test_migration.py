"""Key Vault as the source and the target of migrations. `test_migrate_pairs.py` has all pairs of stores."""

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import MigrationError, SecretNotFoundError
from strongroom.migrate import ItemState, OnConflict, PlannedState
from strongroom.store.memory import MemoryStore
from strongroom.store.one_value import FOLD
from strongroom_vault.plugin import open_vault
from support.scenarios.migrations import HARD, apply, plan, undo, verify

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_vault_to_key_vault_and_back(key_vault, openbao, tmp_path):
    """The plan names what cannot be held; all else arrives, with labels and forms, and an undo restores the target."""
    mounts = [openbao.fresh_mount(version=2) for _ in range(2)]
    first, last = (
        GuardedStore(open_vault(url=openbao.url, token=openbao.token, mount=each), "vault") for each in mounts
    )
    there = GuardedStore(key_vault.open(fold="plain"), "azure")
    for path, data in {**HARD, "text": {"value": "one text"}}.items():
        first.write(path, data)
    first.write_metadata("text", {"owner": "billing"})
    first.write_metadata("a/b", {"Team/Größe": "x y"})
    there.write("plain", {"password": "before"})
    there.write_metadata("plain", {"own": "kept"})
    for source, target, name in ((first, there, "there"), (there, last, "back")):
        options = {"stores": {"source": source, "target": target}, "state_folder": tmp_path / name}
        made = plan("source", "target", on_conflict=OnConflict.OVERWRITE, **options)
        impossible = {item.path: item.reason for item in made.items if item.state is PlannedState.IMPOSSIBLE}
        assert impossible.keys() == ({"long"} if target is there else set())
        assert all("the most is 25,600" in reason for reason in impossible.values())
        if target is there:
            with pytest.raises(MigrationError, match="failed 1"):
                apply(made, **options)
            with pytest.raises(MigrationError) as caught:
                verify(**options)
            report = caught.value.report
        else:
            assert apply(made, **options).ok
            report = verify(**options)
        assert report.count(ItemState.DONE) == len(HARD)
        form = {FOLD: "text"} if target is last else {}
        assert dict(target.read_metadata("text")) == {"owner": "billing", **form}
        assert dict(target.read_metadata("a/b")) == {"Team/Größe": "x y"}
        assert target.read("plain").data == {"password": "correct horse"}
    assert key_vault.vault.secrets["text"][-1]["value"] == "one text"
    undo(stores={"source": first, "target": there}, state_folder=tmp_path / "there")
    assert there.read("plain").data == {"password": "before"}
    assert dict(there.read_metadata("plain")) == {"own": "kept"}
    assert list(there.walk()) == ["plain"]
    for store in (first, last, there):
        store.close()


def test_what_was_undone_is_applied_again(key_vault, tmp_path):
    """The undo deletes the new secret, whose name Key Vault keeps: the same plan restores it, a new one refuses."""
    target = GuardedStore(key_vault.open(), "azure")
    source = MemoryStore()
    source.write("app", {"a": "1"})
    options = {"stores": {"source": source, "target": target}, "state_folder": tmp_path / "home"}
    made = plan("source", "target", **options)
    for _ in range(2):
        assert apply(made, **options).ok
        assert target.read("app").data == {"a": "1"}
        assert undo(**options).ok
        with pytest.raises(SecretNotFoundError):
            target.read("app")
    [item] = plan("source", "target", **options).items
    assert item.state is PlannedState.IMPOSSIBLE
    assert "it is deleted" in item.reason
