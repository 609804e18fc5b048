"""How many functions of ours one read from a server crosses."""

import sys
import threading
from pathlib import Path

import strongroom
import strongroom_vault
from strongroom import SecretsManager
from strongroom_vault.http.drivers.curl_driver import CurlDriver

OURS = tuple(Path(module.__file__).parent for module in (strongroom, strongroom_vault))


def test_a_cold_read_crosses_at_most_ten_functions(openbao, kv2, monkeypatch):
    """From `get_secret` to the one that calls the driver."""
    openbao.put("app/db", {"password": "x"}, mount=kv2)
    callers, caller = [], threading.current_thread()
    run = CurlDriver.run

    def noting(driver, steps):
        if threading.current_thread() is not caller:  # of a manager of an earlier test
            return run(driver, steps)
        frame = sys._getframe(1)
        callers.clear()
        while frame is not None:
            if any(Path(frame.f_code.co_filename).is_relative_to(root) for root in OURS):
                callers.append(frame.f_code.co_qualname)
            frame = frame.f_back
        return run(driver, steps)

    monkeypatch.setenv("STRONGROOM_STORES_VAULT_MOUNT", kv2)
    with SecretsManager(vault_url=openbao.url, vault_token=openbao.token, chain=["vault"]) as manager:
        manager.get_secret("app/db", "password", fresh=True)
        monkeypatch.setattr(CurlDriver, "run", noting)
        assert manager.get_secret("app/db", "password", fresh=True) == "x"
    assert callers[-1] == "BlockingManager.get_secret"
    assert len(callers) <= 10, callers
