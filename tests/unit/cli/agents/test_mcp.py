"""`strongroom mcp` before it serves. tests/agents has the server."""

import sys

import pytest

from strongroom import agents


@pytest.mark.usefixtures("configured")
def test_an_untrusted_configuration_stops_it(command, monkeypatch):
    """Its rules would decide where secrets are sent."""
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    done = command("mcp")
    assert (done.code, done.out) == (7, b"")
    assert "strongroom mcp passes secrets to a program" in done.err


@pytest.mark.usefixtures("configured")
def test_without_its_extra_it_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)  # the first of its packages
    monkeypatch.delitem(sys.modules, "strongroom.agents.mcp", raising=False)
    monkeypatch.delattr(agents, "mcp", raising=False)
    done = command("mcp")
    assert (done.code, done.out) == (7, b"")
    assert done.err.endswith('strongroom mcp needs httpx2, which is not installed: pip install "strongroom[mcp]"\n')
