"""Reading what configures Strongroom, from real files and variables."""

import logging
import os
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from strongroom import _plugins as plugins
from strongroom._config import discovery
from strongroom.errors import ConfigurationError, StrongroomError
from strongroom.files.bounded import read_text
from strongroom.migrate import endpoints

CANARY = "canary-c0de"


@pytest.fixture
def folder() -> Path:
    """The working directory, which is empty."""
    return Path.cwd()


def refusal(**said) -> str:
    with pytest.raises(StrongroomError) as caught:
        discovery.load(**said)
    assert isinstance(caught.value, ConfigurationError)
    error: BaseException | None = caught.value
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in shown[shown.index("strongroom/_config/discovery") :]
    while error is not None:
        assert CANARY not in repr(vars(error))
        error = error.__context__
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(file: Path, text: str) -> Path:
    file.write_text(textwrap.dedent(text))
    file.chmod(0o600)
    return file


def test_nothing_is_needed():
    """In an empty folder and an empty environment there are the environment and ./.env."""
    config = discovery.load()
    assert [link.store for link in config.chain] == ["env", "dotenv"]
    assert (config.environment, config.production, config.timeout, config.cache.ttl) == (None, False, 10.0, 300.0)


def test_the_file_of_the_working_directory_is_found(folder):
    """Its options are marked as found: nobody named it."""
    write(folder / "strongroom.toml", 'chain = ["vault"]\n[stores.vault]\nurl = "https://a"')
    option = discovery.load().stores["vault"].options["url"]
    assert (option.origin, option.found_file) == ("./strongroom.toml: [stores.vault] url", "./strongroom.toml")
    assert option.folder == folder


def test_a_named_file_takes_its_place(folder, tmp_path, monkeypatch):
    """STRONGROOM_CONFIG names one, an argument wins over it; neither is marked as found."""
    write(folder / "strongroom.toml", "not even TOML")
    first = write(tmp_path / "first.toml", "timeout = 1")
    second = write(tmp_path / "second.toml", '[stores.vault]\nurl = "https://a"')
    monkeypatch.setenv("STRONGROOM_CONFIG", str(first))
    assert discovery.load().timeout == 1.0
    option = discovery.load(config_file=second).stores["vault"].options["url"]
    assert (option.origin, option.found_file) == (f"{second}: [stores.vault] url", "")
    assert option.folder == tmp_path


def test_the_environment_of_the_process_is_read_when_it_is_loaded(monkeypatch):
    """Unless the caller gives one; an empty one is one too."""
    monkeypatch.setenv("VAULT_ADDR", "https://a")
    assert discovery.load().chain[0].store == "vault"
    assert discovery.load(environ={}).chain[0].store == "env"


def test_the_selected_environment_is_shown(folder, monkeypatch):
    """Its name is no secret, though a process's variables are redacted as they are read."""
    write(folder / "strongroom.toml", "[environments.prod]\nproduction = true")
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")
    assert "environment='prod'" in repr(discovery.load())


def test_an_environment_without_a_file_is_refused_with_that_cause(folder):
    """The message for a file without environments is another one."""
    message = refusal(environment="prod")
    assert "The environment prod is selected, and ./strongroom.toml is not there: create it" in message
    assert "environments nor" not in message
    write(folder / "strongroom.toml", 'chain = ["vault"]')
    assert "./strongroom.toml has neither environments nor" in refusal(environment="prod")


def test_the_guide_s_dotenv_is_read(folder):
    """VAULT_ADDR and VAULT_TOKEN from ./.env; nothing of it reaches os.environ, and nothing is shown."""
    write(folder / ".env", f"VAULT_ADDR=http://localhost:8200\nVAULT_TOKEN={CANARY}\n")
    config = discovery.load()
    assert [link.store for link in config.chain] == ["vault", "env", "dotenv"]
    assert "VAULT_TOKEN" not in os.environ
    assert CANARY not in repr(config)


def test_production_does_not_touch_dotenv(folder):
    """Not even to find that it is broken."""
    write(folder / ".env", "OPEN='\n")
    assert "./.env" not in refusal(config_file=Path("missing.toml"))
    write(folder / "strongroom.toml", "production = true")
    assert [link.store for link in discovery.load(environ={"VAULT_ADDR": "https://a"}).chain] == ["vault", "env"]


def test_a_folder_called_dotenv_is_none(folder):
    """Virtual environments are called so."""
    (folder / ".env").mkdir()
    assert [link.store for link in discovery.load().chain] == ["env", "dotenv"]


def test_strongroom_s_own_variables_are_not_read_from_dotenv(folder, caplog):
    """One warning says so: silence would look like a setting that has no effect."""
    write(folder / ".env", "STRONGROOM_TIMEOUT=1\n")
    with caplog.at_level(logging.WARNING, "strongroom.secrets_manager"):
        assert discovery.load().timeout == 10.0
    assert caplog.messages == ["./.env: STRONGROOM_TIMEOUT is not read from there: set it in the process"]


def test_a_broken_dotenv_is_an_error_that_names_the_line(folder):
    """A quote left open swallows what follows: nothing of it is used, or shown."""
    write(folder / ".env", f'A=1\nVAULT_TOKEN="{CANARY}\n')
    message = refusal()
    assert ".env, line 2" in message


def test_a_dotenv_that_cannot_be_read_is_an_error(folder):
    """A pipe would block; a file without permission holds what was meant to count."""
    os.mkfifo(folder / ".env")
    assert refusal().startswith("./.env: ")


class TestUnreadableFiles:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (f'token = "{CANARY}"x'.encode(), "strongroom.toml, line 1, column 22: it is not TOML"),
            (f"a = 1\ntoken = {CANARY}".encode(), "strongroom.toml, line 2, column 9: it is not TOML"),
            (f'token = """{CANARY}'.encode(), "strongroom.toml, end of document: it is not TOML"),
            (b"a = " + b"[" * 5000, "strongroom.toml, somewhere: it is not TOML"),
            (
                b"[a]\nb = 1\n[a]\n",
                "strongroom.toml, line 3, column 3: a table or a key stands",
            ),
            (f'a = "x"\na = "{CANARY}"'.encode(), "a table or a key stands there for the second time"),
            (f'[a]\nb.c = 1\n[a.b]\nd = "{CANARY}"'.encode(), "a table or a key stands there for the second time"),
            (f'a = {{b = 1, b = "{CANARY}"}}'.encode(), "a table or a key stands there for the second time"),
            (b"a = " + b"9" * 5000, "strongroom.toml, somewhere: it is not TOML"),
            (f'token = "{CANARY}\xff"'.encode("latin-1"), "strongroom.toml: it is not UTF-8"),
            (f'# {CANARY}\n"'.encode() + b"#" * (1 << 20), "strongroom.toml: it is larger than 1,048,576 bytes"),
            (
                b"x = 1\n" + b".".join([b"a"] * 16_000) + b" = 1",
                "strongroom.toml, line 2: a key with more than 100 dots",
            ),
            (b"[" + b"\"a b\" . '=' . " * 8_000 + b"a]", "strongroom.toml, line 1: a key with more than 100 dots"),
        ],
    )
    def test_a_file_that_is_not_toml(self, folder, content, words):
        """The line and the column are named; the text is neither in the message nor in a frame or a context."""
        (folder / "strongroom.toml").write_bytes(content)
        assert words in refusal()

    def test_a_file_that_is_named_and_not_there(self, monkeypatch):
        """A configuration that was asked for is never left out in silence."""
        monkeypatch.setenv("STRONGROOM_CONFIG", "/nowhere/at-all.toml")
        assert "the file /nowhere/at-all.toml: No such file or directory" in refusal()

    def test_a_file_below_a_home_that_nobody_has(self, monkeypatch):
        """A user who is not known here."""
        monkeypatch.setenv("STRONGROOM_CONFIG", "~nobody-of-that-name/app.toml")
        assert "STRONGROOM_CONFIG: the home folder of ~nobody-of-that-name/app.toml is not known" in refusal()

    def test_a_file_that_is_none(self, folder):
        """A folder, and a pipe that nobody writes to."""
        (folder / "strongroom.toml").mkdir()
        assert "strongroom.toml" in refusal()
        os.mkfifo(folder / "pipe.toml")
        assert "pipe.toml: it is not a regular file" in refusal(config_file=folder / "pipe.toml")

    def test_a_link_that_leads_nowhere(self, folder):
        """It is there, and is not the same as no file."""
        (folder / "strongroom.toml").symlink_to(folder / "gone.toml")
        assert "strongroom.toml" in refusal()

    def test_a_byte_order_mark_is_no_part_of_the_file(self, folder):
        """Some editors write one."""
        (folder / "strongroom.toml").write_bytes(b"\xef\xbb\xbftimeout = 2")
        assert discovery.load().timeout == 2.0

    def test_the_bound_is_exact(self, tmp_path):
        """As many bytes as are allowed are read, and not one more."""
        file = write(tmp_path / "x", "é")
        assert read_text(file, "here", 2) == "é"
        with pytest.raises(ConfigurationError, match=r"here: the file .*/x: it is larger than 1 bytes"):
            read_text(file, "here", 1)


def test_the_token_of_an_argument_is_in_no_frame():
    """Nor those of the process's variables, when something else is wrong."""
    said = {"vault_token": CANARY, "environ": {"VAULT_TOKEN": CANARY, "STRONGROOM_STORES_VAULT_TOKEN": CANARY}}
    assert "cache_ttl" in refusal(**said, cache_ttl=-1)
    assert "[chain[0]]" in refusal(**said, chain=[{}])
    assert "STRONGROOM_X is unknown" in refusal(environ={**said["environ"], "STRONGROOM_X": CANARY})


def test_loading_and_listing_load_no_sdk(folder):
    """Neither reading a configuration nor checking its stores needs what only opening a store needs."""
    write(folder / "strongroom.toml", 'chain = ["memory"]')
    code = """
        import sys
        started = set(sys.modules)  # a measurement of coverage has loaded tomllib
        import strongroom._config, strongroom._config.discovery, strongroom._plugins
        early = {"tomllib", "importlib.metadata", "dotenv", "difflib"} & set(sys.modules) - started
        from strongroom._config import discovery
        from strongroom import _plugins as plugins
        plugins.prepare(discovery.load(), "memory")
        plugins.installed()
        late = {"hvac", "requests", "urllib3", "boto3", "click", "rich", "dotenv"} & set(sys.modules) - started
        print(sorted(early), sorted(late))
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, cwd=folder
    )
    assert ran.stdout.split("\n")[0] == "[] []"


def test_a_configuration_outlives_the_working_directory_it_was_found_in(folder, tmp_path, monkeypatch):
    """What it refers to stays where it was when the application changes its folder."""
    write(folder / "data", "one")
    write(folder / "strongroom.toml", 'chain = ["memory"]\n[stores.memory.secrets.app]\nkey = { file = "data" }')
    config = discovery.load()
    monkeypatch.chdir(tmp_path)
    assert plugins.prepare(config, "memory")().read("app").data["key"] == "one"


def test_variable_of_a_plugin_needs_no_table():
    """A command line names it as PLUGIN:LOCATION. No plugin is loaded for that, and a typo is still refused."""
    config = discovery.load(environ={"STRONGROOM_STORES_AWS_SSM_REGION": "eu-west-1"}, chain=["env"])
    assert config.store("aws-ssm").options["region"].value == "eu-west-1"
    located, _ = endpoints.located(config, "aws-ssm:prod", plugins.EXPORTERS)
    assert set(located.store("aws-ssm:prod").options) == {"region", "prefix"}
    with pytest.raises(ConfigurationError, match="STRONGROOM_STORES_AWS_SMS_REGION names no store and option"):
        discovery.load(environ={"STRONGROOM_STORES_AWS_SMS_REGION": "eu-west-1"})
