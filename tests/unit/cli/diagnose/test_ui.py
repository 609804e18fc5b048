"""The server of `strongroom ui`: access to the page, and answers without secrets. tests/ui tests the page itself."""

import http.client
import json
import re
import threading
from pathlib import Path

import pytest

from strongroom._cli.diagnose.chain_status import document
from strongroom._cli.diagnose.monitor import Monitor
from strongroom._cli.diagnose.ui import StatusServer
from strongroom._config import discovery
from support.clock import LONG

CANARY = "canary-7f3a"
CONFIGURATION = f"""
chain = ["memory"]

[rotation."database/connection"]
rotator = "password"

[stores.memory.secrets."database/connection"]
password = "{CANARY}"
"""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that listens, of a configuration with a secret."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("strongroom.toml").write_text(CONFIGURATION, "utf-8")
    with Monitor(discovery.load()) as monitor:
        monitor.probe()
        with StatusServer(lambda: document(monitor.status(), paths=False)) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            yield server
            server.shutdown()
            thread.join(LONG)


class Browser:
    """A client that keeps the cookie, as a browser does."""

    def __init__(self, server):
        self._server = server
        self.cookie = self.folder = ""

    def request(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self._server.server_port, timeout=LONG)
        named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        if self.cookie and "Cookie" not in named:
            named["Cookie"] = self.cookie
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer

    def opens(self, **headers):
        """Open the address that the command prints, and follow the page to the status."""
        answer = self.request(self.token, **headers)
        if answer.status == 200:
            self.cookie = answer.getheader("Set-Cookie").partition(";")[0]
            self.folder = re.search(r"url=(/[^\"]+/)", answer.text)[1]
        return answer

    @property
    def token(self):
        return self._server.url.partition(f":{self._server.server_port}")[2]


@pytest.fixture
def browser(server):
    return Browser(server)


def test_it_listens_on_loopback_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_the_token_opens_the_page_once(browser, server):
    """A copy of the address, in a history or on a screen, is of no use."""
    assert browser.opens().status == 200
    page = browser.request(browser.folder)
    assert page.status == 200
    assert "<title>Strongroom</title>" in page.text
    second = Browser(server)
    assert second.opens().status == 403
    assert second.request(browser.folder).status == 403


@pytest.mark.parametrize(
    "target", ["/", "/?token=", "/?token=wrong", "/?token=%C5%BElu%C5%A5", "/status.json", "//", "/x/"]
)
def test_without_the_token_there_is_nothing(browser, target):
    answer = browser.request(target)
    assert answer.status == 403
    assert "run strongroom ui again" in answer.text.lower()
    assert browser.opens().status == 200  # a guess does not use the token up


def test_the_cookie_is_for_this_server_alone(browser):
    """No script reads it, no other page sends it, and no server on another port gets it: its path is random."""
    header = browser.opens().getheader("Set-Cookie")
    assert f"; Path={browser.folder}; HttpOnly; SameSite=Strict" in header
    assert len(browser.folder) > 20
    assert browser.request(browser.folder, Cookie="strongroom-ui=wrong").status == 403
    assert browser.request(browser.folder, Cookie="\x01=;;").status == 403


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1", "127.0.0.1:1", "[::1]", ""])
def test_a_name_that_points_to_loopback_is_refused(browser, host):
    """DNS rebinding: the browser believes that the attacker's page and this server are one site."""
    assert browser.opens(Host=host).status == 421
    assert browser.opens().status == 200
    assert browser.request(f"{browser.folder}status.json", Host=host).status == 421


def test_another_page_gets_nothing(browser):
    browser.opens()
    for site in ("cross-site", "same-site"):
        assert browser.request(f"{browser.folder}status.json", Sec_Fetch_Site=site).status == 403


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "<b>"])
def test_only_get(browser, method):
    browser.opens()
    answer = browser.request(browser.folder, method)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET")
    assert "<b>" not in answer.text


def test_every_answer_has_the_headers_and_no_secret(browser, capfd):
    """Pages, data, refusals and errors; nothing is logged, since a line would have the token."""
    answers = [browser.request("/"), browser.opens()]
    names = ["", "page.css", "page.js", "icon.svg", "status.json", "none", "../../etc/passwd"]
    answers += [browser.request(f"{browser.folder}{name}") for name in names]
    answers += [browser.request(browser.folder, "POST"), browser.request(browser.folder, Host="x")]
    assert [answer.status for answer in answers] == [403, 200, 200, 200, 200, 200, 200, 404, 404, 405, 421]
    for answer in answers:
        assert answer.getheader("Content-Security-Policy").startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in answer.getheader("Content-Security-Policy")
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Referrer-Policy") == "no-referrer"
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("X-Frame-Options") == "DENY"
        assert answer.getheader("Server") is None
        sent = f"{answer.text} {answer.getheaders()}"
        assert CANARY not in sent
        assert "database/connection" not in sent
    assert capfd.readouterr() == ("", "")


def test_the_page_gets_the_document_of_the_command(browser):
    browser.opens()
    answer = browser.request(f"{browser.folder}status.json")
    assert answer.getheader("Content-Type") == "application/json"
    found = json.loads(answer.text)
    assert [link["store"] for link in found["chain"]] == ["memory"]
    assert found["rotations"][0]["rotator"] == "password"


def test_it_ends_with_ctrl_c(terminal, script):
    """At once, as a success."""
    Path("strongroom.toml").write_text('chain = ["env"]\n', "utf-8")
    screen = terminal(script, "ui", "--no-browser")
    screen.waits_for("Ctrl-C to end")
    screen.interrupts()
    code, _ = screen.ended()
    assert code == 0


def test_a_port_that_is_taken_is_named(command, server):
    done = command("ui", "--no-browser", "--port", str(server.server_port))
    assert done.code == 7
    assert f"Cannot listen on port {server.server_port}" in done.err
