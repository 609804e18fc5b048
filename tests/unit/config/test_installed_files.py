"""The configuration files of the user and of the system, and configuration in code."""

import os
from pathlib import Path

import pytest

from strongroom import SecretsManager
from strongroom._config import discovery
from strongroom.errors import ConfigurationError

VAULT = 'chain = ["vault"]\n[stores.vault]\nurl = "https://{}.example"\n'


@pytest.fixture
def user(monkeypatch, tmp_path) -> Path:
    """Where the file of the user is looked for."""
    folder = tmp_path / "xdg"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "strongroom").mkdir(parents=True)
    return folder / "strongroom" / "strongroom.toml"


@pytest.fixture
def system(monkeypatch, tmp_path) -> Path:
    """Where the file of the system is looked for: not in /etc, where a test may not write."""
    file = tmp_path / "etc" / "strongroom.toml"
    file.parent.mkdir()
    monkeypatch.setattr(discovery, "SYSTEM_FILE", file)
    return file


def write(file: Path, name: str) -> None:
    file.write_text(VAULT.format(name), "utf-8")
    file.chmod(0o644)


def url() -> object:
    return discovery.load(require_trust=True).stores["vault"].options["url"].value


def test_the_first_that_exists_counts_and_no_other(user, system):
    """Here, of the user, of the system; a named one before all."""
    write(system, "system")
    assert url() == "https://system.example"
    write(user, "user")
    assert url() == "https://user.example"
    write(Path("strongroom.toml"), "here")
    assert url() == "https://here.example"
    write(Path("named.toml"), "named")
    named = discovery.load(config_file=Path("named.toml"))
    assert named.stores["vault"].options["url"].value == "https://named.example"


def test_a_job_has_the_same_chain_in_every_folder(system, tmp_path, monkeypatch):
    write(system, "system")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert repr(SecretsManager()) == "SecretsManager(Chain(vault))"
        assert discovery.load().files == (system,)


@pytest.mark.parametrize("relative", ["", "relative"])
def test_the_folder_of_the_user_is_in_the_home_folder_by_default(monkeypatch, relative):
    monkeypatch.setenv("XDG_CONFIG_HOME", relative)
    file = Path.home() / ".config" / "strongroom" / "strongroom.toml"
    file.parent.mkdir(parents=True)
    write(file, "home")
    assert url() == "https://home.example"


def test_an_installed_file_needs_no_trust_and_its_address_gets_the_token(user, monkeypatch):
    """The user or root wrote it, as one that is named."""
    write(user, "user")
    monkeypatch.setenv("VAULT_TOKEN", "t")
    config = discovery.load(require_trust=True)
    assert config.untrusted == ()
    assert config.stores["vault"].options["url"].found_file == ""


def test_an_installed_file_that_others_may_write_is_refused(user):
    write(user, "user")
    user.chmod(0o666)
    with pytest.raises(ConfigurationError, match="others may write to it"):
        discovery.load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_an_installed_file_of_another_user_is_refused(system):
    write(system, "system")
    os.chown(system, 12345, 12345)
    with pytest.raises(ConfigurationError, match="it belongs to user 12345"):
        discovery.load()


def test_a_link_to_a_file_of_the_user_is_read(user, tmp_path):
    """People keep such files in a repository of their own."""
    write(tmp_path / "dotfile.toml", "link")
    user.symlink_to(tmp_path / "dotfile.toml")
    assert url() == "https://link.example"


def test_a_dangling_link_is_an_error_and_not_the_next_file(user, system):
    write(system, "system")
    user.symlink_to("nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"strongroom\.toml"):
        discovery.load()


def test_a_manager_takes_the_content_of_a_file_as_a_mapping():
    document = {
        "chain": [{"store": "own"}, "env"],
        "stores": {"own": {"plugin": "memory", "secrets": {"a/b": {"k": "v"}}}},
        "secrets": {"POOL_SIZE": {"at": "pool#size", "default": 5}},
    }
    with SecretsManager.from_config(document) as secrets:
        assert secrets.get_secret("a/b", "k") == "v"
        assert secrets.get_secret("pool", "size") == "5"
    with pytest.raises(ConfigurationError, match=r"the argument config: chian: unknown key"):
        SecretsManager.from_config({"chian": []})


def test_a_chain_argument_opens_a_store_with_its_options():
    with SecretsManager(chain=[{"store": "memory", "secrets": {"a/b": {"k": "hunter2"}}}]) as secrets:
        assert secrets.get_secret("a/b", "k") == "hunter2"
        assert "hunter2" not in repr(secrets.config)


# --- a tool that other programs start ---------------------------------------------------------------------------------


def test_a_tool_without_a_configuration_names_the_folder_of_the_user(monkeypatch, tmp_path):
    """Not the working directory, in which no file would count. A program may have started it with another HOME."""
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    assert discovery.load(use_found=False).sources == (
        f"No configuration file was found in {tmp_path / 'ada' / '.config' / 'strongroom'}"
    )


@pytest.mark.parametrize("trusted", [True, False])
def test_a_tool_uses_nothing_of_the_working_directory(monkeypatch, user, system, tmp_path, trusted):
    """Neither a file, nor variables, nor the store that reads them, be they trusted or not."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if not trusted:
        monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS")
    write(folder / "strongroom.toml", "theirs")
    (folder / ".env").write_text("VAULT_ADDR=https://theirs.example\n")
    bare = discovery.load(use_found=False)
    assert [link.store for link in bare.chain] == ["env"]
    assert (bare.files, bare.untrusted) == ((), ())
    assert f"Helpers ignore {folder / 'strongroom.toml'}: name it in STRONGROOM_CONFIG" in bare.sources
    for file in (system, user):
        write(file, file.parent.name)
        found = discovery.load(use_found=False)
        assert found.stores["vault"].options["url"].value == f"https://{file.parent.name}.example"
        assert found.files == (file,)


def test_a_tool_takes_a_named_file_by_its_absolute_path(monkeypatch, user, tmp_path):
    """A relative one would be another file in each folder."""
    write(user, "users")
    write(tmp_path / "named.toml", "named")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "named.toml"))
    assert discovery.load(use_found=False).stores["vault"].options["url"].value == "https://named.example"
    monkeypatch.setenv("STRONGROOM_CONFIG", "named.toml")
    with pytest.raises(ConfigurationError, match=r"STRONGROOM_CONFIG: named\.toml is relative .* absolute path"):
        discovery.load(use_found=False)


@pytest.mark.usefixtures("user")
def test_a_tool_names_the_file_of_the_user_if_there_is_none(monkeypatch, user):
    """An environment is selected that no file has."""
    monkeypatch.setenv("STRONGROOM_ENVIRONMENT", "prod")
    with pytest.raises(ConfigurationError, match=str(user)):
        discovery.load(use_found=False)
