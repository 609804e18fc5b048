"""The user's guide, run: its code blocks pasted as they are, import name aside, on a real OpenBao server."""

import asyncio
import contextlib
import logging
import re
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest

import strongroom
from strongroom import SecretsManager, get_api_key, get_secret, set_default_manager, set_secret
from strongroom._config import discovery
from strongroom.errors import AuthenticationError, PermissionDeniedError, SecretNotFoundError
from strongroom_vault import VaultConnectionError
from support.clock import Clock

GUIDE = Path(__file__).with_name("guide.md").read_text(encoding="utf-8")
SECTIONS = {
    heading.strip(): text
    for heading, text in re.findall(r"^#{2,3} (.+)\n((?:(?!^#{2,3} ).*\n?)*)", GUIDE, re.MULTILINE)
}

CONNECTION = {
    "url": "postgresql://u:p@db/app",
    "host": "db",
    "port": "5432",
    "user": "u",
    "password": "p",
    "name": "app",
}
ROTATED = {**CONNECTION, "url": "postgresql://u:rotated@db/app", "password": "rotated"}
OURS = {"https://vault.company.com": "{url}", "s.abcdef123456": "{token}", "http://localhost:8200": "{url}"}
"""What stands in the guide for the reader's own server."""


def block(section, language, number=0):
    """A code block of a section, without its indentation in a list."""
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    indentation, text = blocks[number]
    return re.sub(rf"^{indentation}", "", text, flags=re.MULTILINE)


def rows(section):
    """The rows of a section's table, without their backquotes."""
    return [
        tuple(cell.strip(" `") for cell in row.split("|")[1:-1]) for row in SECTIONS[section].splitlines() if "`" in row
    ]


def paste(text, vault=None, **names):
    """Runs a block; what it defines is returned. Its reader has put their own server's address and token in."""
    text = text.replace("src.core", "strongroom")
    if vault is not None:
        for example, ours in OURS.items():
            text = text.replace(example, ours.format(url=vault.url, token=vault.token))
    exec(compile(text, "guide.md", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def default_manager():
    """Each test makes the default manager anew, as a process of its own would."""
    outer = set_default_manager(None)
    yield
    if (ours := set_default_manager(outer)) is not None:
        ours.close()


@pytest.fixture
def vault(fresh_openbao):
    """A server with the guide's secrets on it, and the guide's `.env` in the working directory."""
    text = block("3. Configure Application", "env").replace("http://localhost:8200", fresh_openbao.url)
    Path(".env").touch(0o600)
    Path(".env").write_text(text.replace("<token-from-setup-script>", fresh_openbao.token))
    fresh_openbao.put("database/connection", CONNECTION)
    fresh_openbao.put("api-keys/openai", {"key": "sk-openai"})
    fresh_openbao.put("auth/jwt", {"secret": "jwt-secret", "algorithm": "HS256"})
    return fresh_openbao


# --- usage in code ----------------------------------------------------------------------------------------------------


def test_basic_usage(vault):
    made = paste(block("Basic Usage", "python"), vault)
    assert made["db_url"] == CONNECTION["url"]
    assert made["db_config"] == CONNECTION
    assert type(made["db_config"]["port"]).__mro__[1] is str


def test_the_manager_class(vault):
    made = paste(block("Using the SecretsManager Class", "python"), vault)
    with made["secrets"] as secrets:
        assert made["api_key"] == "sk-openai"
        assert made["keys"] == ["custom", "openai"]
        assert secrets.get_secret("api-keys/custom", "key") == "new-value"
        assert vault.peek("api-keys/custom") == {"key": "new-value"}


def test_convenience_functions(vault):
    made = paste(block("Convenience Functions", "python"), vault)
    assert made["db_url"] == CONNECTION["url"]
    assert made["openai_key"] == "sk-openai"
    assert made["jwt_secret"] == "jwt-secret"


def test_the_guides_names_are_at_the_root_too(vault):
    made = paste(block("Convenience Functions", "python").replace("src.core.secrets_manager", "strongroom"), vault)
    assert made["get_api_key"] is strongroom.get_api_key
    assert made["db_url"] == CONNECTION["url"]


# --- the fallback -----------------------------------------------------------------------------------------------------


def test_the_table_is_read_whole():
    """So that the tests over its rows run over all of them."""
    assert len(rows("Environment Variable Fallback")) == 7


@pytest.mark.parametrize(("place", "variable"), rows("Environment Variable Fallback"))
def test_without_a_vault_the_variable_answers(place, variable, monkeypatch):
    path, _, key = place.rpartition("/")
    monkeypatch.setenv(variable, "from-the-environment")
    assert get_secret(path, key) == "from-the-environment"
    assert strongroom.resolve(path, key).store == "env"


@pytest.mark.parametrize(("place", "variable"), rows("Environment Variable Fallback"))
def test_with_a_vault_that_is_gone_the_variable_answers(place, variable, monkeypatch):
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", "s.abcdef123456")
    path, _, key = place.rpartition("/")
    monkeypatch.setenv(variable, "from-the-environment")
    assert get_secret(path, key) == "from-the-environment"


@pytest.mark.parametrize(("place", "variable"), rows("Environment Variable Fallback"))
def test_vault_comes_before_the_variable(place, variable, monkeypatch, vault):
    path, _, key = place.rpartition("/")
    vault.put(path, {key: "from-vault"})
    monkeypatch.setenv(variable, "from-the-environment")
    assert get_secret(path, key) == "from-vault"


def test_without_a_vault_the_fallback_can_be_in_the_env_file():
    Path(".env").write_text("OPENAI_API_KEY=from-the-file\n")
    assert get_api_key("openai") == "from-the-file"


# --- the encrypted cache ----------------------------------------------------------------------------------------------


def test_the_default_ttl_is_five_minutes():
    assert "(default: 5 minutes)" in SECTIONS["1. Encrypted Cache"]
    assert discovery.load().cache.ttl == 300


def test_a_cached_secret_is_not_read_again_before_its_ttl(vault):
    with SecretsManager(cache_ttl=600) as secrets:
        clock = Clock.of(secrets)
        for _ in range(50):
            assert secrets.get_secret("api-keys/openai", "key") == "sk-openai"
        assert vault.requests("secret/data/api-keys/openai") == 1
        vault.put("api-keys/openai", {"key": "sk-changed"})
        clock.move(500)
        assert secrets.get_secret("api-keys/openai", "key") == "sk-openai"
        clock.move(101)
        assert secrets.get_secret("api-keys/openai", "key") == "sk-changed"
        assert vault.requests("secret/data/api-keys/openai") == 2


def test_an_update_invalidates_the_cache(vault):
    assert get_secret("api-keys/openai", "key") == "sk-openai"
    set_secret("api-keys/openai", {"key": "sk-changed"})
    assert get_secret("api-keys/openai", "key") == "sk-changed"
    assert get_secret("api-keys/openai") == {"key": "sk-changed"}


# --- rotation and access control --------------------------------------------------------------------------------------


def test_rotation_sets_the_password_and_keeps_the_other_keys(vault, monkeypatch):
    """The guide sets only `password` on a secret that also holds the host, the port and a URL with the password."""

    class ThirtyDaysLaterError(Exception):
        pass

    async def sleep(seconds):
        assert seconds == 30 * 24 * 60 * 60
        raise ThirtyDaysLaterError

    updated = []

    async def update_database_password(password):
        updated.append(password)

    with SecretsManager() as manager:
        made = paste(
            block("4. Secret Rotation", "python"),
            secrets_manager=manager,
            generate_secure_password=lambda: "rotated",
            update_database_password=update_database_password,
        )
        assert manager.get_secret("database/connection", "password") == "p"
        monkeypatch.setitem(made, "asyncio", SimpleNamespace(sleep=sleep))
        with pytest.raises(ThirtyDaysLaterError):
            asyncio.run(made["rotate_database_password"]())
        assert manager.get_secret("database/connection") == ROTATED
        assert manager.get_database_url() == ROTATED["url"]
    assert updated == ["rotated"]
    assert vault.peek("database/connection") == ROTATED


def test_the_guides_policies_are_enough_to_read_and_to_rotate(vault):
    """They allow neither listing nor metadata, nor looking at one's own token."""
    vault.call("PUT", "sys/policies/acl/app", {"policy": block("3. Access Control", "hcl")})
    grant = vault.call("POST", "auth/token/create", {"policies": ["app"], "no_default_policy": True})
    with SecretsManager(vault_url=vault.url, vault_token=grant["auth"]["client_token"]) as secrets:
        assert secrets.get_secret("api-keys/openai", "key") == "sk-openai"
        secrets.set_secret("database/connection", {"password": "rotated"})
        assert secrets.get_secret("database/connection") == ROTATED
        with pytest.raises(PermissionDeniedError):
            secrets.set_secret("api-keys/openai", {"key": "x"})
        with pytest.raises(PermissionDeniedError):
            secrets.list_secrets("api-keys")
        with pytest.raises(PermissionDeniedError):
            secrets.get_secret("auth/jwt", "secret")


def test_a_script_leaves_no_token_of_its_login_behind(vault):
    """It uses the module's functions and an AppRole, and closes nothing."""
    vault.call("POST", "sys/auth/approle", {"type": "approle"})
    policy = vault.write_policy({"secret/data/*": ["read"], "auth/token/revoke-self": ["update"]})
    vault.call("POST", "auth/approle/role/app", {"token_policies": [policy]})
    role_id = vault.call("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    secret_id = vault.call("POST", "auth/approle/role/app/secret-id", {})["data"]["secret_id"]
    Path("secret-id").write_text(secret_id)
    auth = f'{{ method = "approle", role_id = "{role_id}", secret_id_file = "{Path("secret-id").absolute()}" }}'
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "{vault.url}"\nauth = {auth}\n')
    vault.issue_token({"secret/data/x": ["read"]})  # a list of nothing would be a 404
    before = vault.call("LIST", "auth/token/accessors")["data"]["keys"]
    script = "from strongroom import get_secret; print(get_secret('api-keys/openai', 'key'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("sk-openai\n", 0), done.stderr
    assert vault.call("LIST", "auth/token/accessors")["data"]["keys"] == before


def test_an_approle_of_the_shell_works_as_the_message_about_a_missing_token_says(vault, monkeypatch):
    """The guide ends with its credential in ROLE_ID and SECRET_ID."""
    vault.call("POST", "sys/auth/approle", {"type": "approle"})
    policy = vault.write_policy({"secret/data/*": ["read"]})
    vault.call("POST", "auth/approle/role/myapp", {"token_policies": [policy]})
    role_id = vault.call("GET", "auth/approle/role/myapp/role-id")["data"]["role_id"]
    secret_id = vault.call("POST", "auth/approle/role/myapp/secret-id", {})["data"]["secret_id"]
    monkeypatch.setenv("ROLE_ID", role_id)
    monkeypatch.setenv("SECRET_ID", secret_id)
    Path(".env").unlink()
    with SecretsManager(vault.url) as secrets, pytest.raises(AuthenticationError, match="there is no token") as raised:
        secrets.get_secret("api-keys/openai", "key")
    assert role_id not in str(raised.value)
    assert secret_id not in str(raised.value)
    (table,) = re.findall(r"auth = \{.*\}", str(raised.value))
    Path("strongroom.toml").write_text(f'chain = ["vault"]\n[stores.vault]\nurl = "{vault.url}"\n{table}\n')
    assert get_secret("api-keys/openai", "key") == "sk-openai"


def test_the_page_of_the_debug_log_names_the_guides_logger(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    (name,) = re.findall(r'getLogger\("(.+)"\)', block("Debug Mode", "python"))
    assert name in page


# --- troubleshooting --------------------------------------------------------------------------------------------------


def last_line(error):
    """How the interpreter ends the traceback, without the module's name."""
    return "".join(traceback.format_exception_only(error)).strip().rpartition("errors.")[2]


def test_vault_not_accessible():
    secrets = SecretsManager("http://127.0.0.1:9", "s.abcdef123456", enable_fallback=False)
    with secrets, pytest.raises(VaultConnectionError) as raised:
        secrets.get_secret("api-keys/openai", "key")
    assert last_line(raised.value).startswith(block("Common Issues", "", 0).strip())
    assert "VAULT_ADDR" in str(raised.value)


def test_authentication_failed(vault):
    secrets = SecretsManager(vault_url=vault.url, vault_token="s.abcdef123456")
    with secrets, pytest.raises(AuthenticationError) as raised:
        secrets.get_secret("api-keys/openai", "key")
    assert str(raised.value).startswith(block("Common Issues", "", 1).strip())
    assert "s.abcdef123456" not in str(raised.value)


def test_secret_not_found(vault):
    with pytest.raises(SecretNotFoundError) as raised:
        get_api_key("service")
    assert last_line(raised.value).startswith(block("Common Issues", "", 2).strip())
    assert "SERVICE_API_KEY" in str(raised.value)


# --- debug mode -------------------------------------------------------------------------------------------------------


def test_debug_mode_says_which_store_answered_and_no_value(vault, caplog):
    with _level_kept("strongroom.secrets_manager"):
        paste(block("Debug Mode", "python"))
        assert get_secret("api-keys/openai", "key") == "sk-openai"
        with contextlib.suppress(SecretNotFoundError):
            get_api_key("service")
    said = [record.getMessage() for record in caplog.records if record.name == "strongroom.secrets_manager"]
    assert any("api-keys/openai" in line and "vault" in line and "found" in line for line in said)
    assert any("api-keys/service" in line and "env" in line and "SERVICE_API_KEY" in line for line in said)
    assert not [line for line in said if "sk-openai" in line or vault.token in line]


def test_without_debug_mode_it_says_nothing(vault, caplog):
    assert get_secret("api-keys/openai", "key") == "sk-openai"
    assert not [record for record in caplog.records if record.name == "strongroom.secrets_manager"]


@contextlib.contextmanager
def _level_kept(name):
    logger = logging.getLogger(name)
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)
