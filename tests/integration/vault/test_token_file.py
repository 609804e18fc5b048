"""A token in a file, on a real server."""

import logging

import pytest

from strongroom_vault.plugin import open_vault


@pytest.mark.parametrize(("mode", "reported"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_file_that_every_user_has_access_to_is_reported(openbao, tmp_path, caplog, mode, reported):
    """By one warning for all logins, and by `doctor`, until its mode is changed. The file is used."""
    file = tmp_path / "token"
    file.write_text(openbao.issue_token({"secret/data/mine/*": ["read"]}))
    file.chmod(mode)
    found = []
    for _ in range(2):
        stores = [open_vault(url=openbao.url, auth={"method": "token-file", "token_file": str(file)}) for _ in range(2)]
        found.append([check for check in stores[1].probe().checks if check.name == "credential file"])
        for store in stores:
            store.close()
        file.chmod(0o600)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    text = f"every user has access to {file} (mode {mode:04o})"
    assert warnings == ([f"auth.token_file: {text}: run chmod 600 on it"] if reported else [])
    assert [check.detail for check in found[0]] == ([text] if reported else [])
    assert found[1] == []
