"""Names from a real server on a terminal."""

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("line", "shown"), [("get odd/keys", '"\\u001b[31mred"'), ("get odd/keys --reveal", '"two\\nlines"')]
)
def test_a_name_does_nothing_to_a_terminal(terminal, script, openbao, kv2, monkeypatch, line, shown):
    """Whoever may write to a store past Strongroom names keys, and moves no cursor of those who read."""
    openbao.put("odd/keys", {"\x1b[31mred": "two\nlines"}, mount=kv2)
    monkeypatch.setenv("VAULT_ADDR", openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    Path("strongroom.toml").write_text(f'chain = ["vault"]\nstores.vault.mount = "{kv2}"\n', "utf-8")
    code, screen = terminal(script, "--no-color", *line.split()).ended()
    assert code == 0
    assert shown in screen
    assert "\x1b" not in screen
