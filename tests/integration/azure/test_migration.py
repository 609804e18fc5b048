"""Key Vault as the source and the target of migrations. `test_migrate_pairs.py` has all pairs of stores."""

import pytest

from strongroom._boundary.guard import GuardedStore
from strongroom.errors import SecretNotFoundError
from strongroom.migrate import PlannedState
from strongroom.store.memory import MemoryStore
from support.scenarios.migrations import apply, plan, undo

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


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
