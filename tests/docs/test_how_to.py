"""What the how-tos tell another program is what it understands, and the commands in it do what the page says.

The other blocks of these pages run in test_pages.py.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml
from lightkube.core.resource_registry import resource_registry

from strongroom import _plugins as plugins
from strongroom._cli.app import strongroom
from strongroom._config import discovery
from support.scenarios import pages
from support.scenarios.pages import blocks

pytestmark = pytest.mark.long

PAGES = pages.pages()

KUBERNETES = {"kubernetes.md": ["ServiceAccount", "Deployment"]}
"""The kinds of the objects in a page."""

SCHEMAS = {
    "shop.md": "vendor.compose-spec",
    "docker-compose.md": "vendor.compose-spec",
    "github-actions.md": "vendor.github-workflows",
    "programs.md": "vendor.gitlab-ci",
}


def block(name: str, language: str, begin: str = "") -> str:
    """The block of this page that begins so."""
    (found,) = (block for block in blocks(pages.page(name), language) if block.startswith(begin))
    return found


def configurations(page: Path) -> list[str]:
    """The configurations of a page that are for several environments."""
    return [text for text in blocks(page, "toml") if "environments" in tomllib.loads(text)]


@pytest.fixture
def page(monkeypatch):
    """The folder of a reader of one page: its `strongroom.toml`, and our commands on PATH."""

    def prepare(name: str) -> dict[str, Any]:
        shown = pages.page(name)
        (text,) = configurations(shown) or blocks(shown, "toml")
        Path("strongroom.toml").write_text(text, "utf-8")
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        return tomllib.loads(text)

    return prepare


def run(command: str | Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of a page, as a container or a runner starts it."""
    return subprocess.run(
        ["bash", "-ec", command] if isinstance(command, str) else command,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def at_server(server, mount: str) -> dict[str, str]:
    """Leads the store `vault` of a page to a server of the tests, in the place of logging in to the page's own."""
    return {
        "STRONGROOM_STORES_VAULT_URL": server.url,
        "STRONGROOM_STORES_VAULT_MOUNT": mount,
        "STRONGROOM_STORES_VAULT_AUTH": json.dumps({"method": "token", "token": server.token}),
    }


# --- the configurations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how_to", [page for page in PAGES if len(configurations(page)) == 1], ids=lambda page: page.stem
)
def test_a_configuration_is_right_in_each_of_its_environments(how_to, page, monkeypatch):
    """Every option exists and has a value of its type, in the plugins that are installed."""
    variables = {
        "VAULT_ADDR": "https://vault.test",
        "VAULT_TOKEN": "a-token",
        "BAO_TOKEN": "a-token",
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    environments = page(pages.name_of(how_to))["environments"]
    token = Path("vault-token")
    token.write_text("a-token", "utf-8")
    file = Path("strongroom.toml")
    file.write_text(file.read_text("utf-8").replace("/run/secrets/vault-token", str(token.absolute())), "utf-8")
    for environment in environments:
        config = discovery.load(environment=environment)
        assert [plugins.store_settings(config, link.store) for link in config.chain]


@pytest.mark.parametrize(("name", "environment"), [("kubernetes.md", "prod"), ("github-actions.md", "ci")])
def test_a_way_to_authenticate_is_one_that_there_is(name, environment, page):
    """The method has these options."""
    from strongroom_vault.auth.methods import read_auth

    page(name)
    config = discovery.load(environment=environment)
    table = plugins.store_settings(config, "vault")["auth"].value
    assert isinstance(table, Mapping)
    read_auth({option: str(value) for option, value in table.items()})


def test_the_lines_of_cron_take_the_configuration_of_the_page(monkeypatch):
    """With the variables of the line. One configuration has the table: a shorter one would rotate in another way."""
    shown = pages.page("secrets/rotation.md")
    (configuration,) = (text for text in blocks(shown, "toml") if '[rotation."database/app"]' in text)
    Path("strongroom.toml").write_text(configuration, "utf-8")
    (crontab,) = (text for text in blocks(shown, "text") if text.startswith("# /etc/cron.d/"))
    for line in crontab.splitlines()[1:]:
        given, config = re.fullmatch(r"(?:\S+ +){5}billing +(.*?)/\S+/strongroom --config (\S+) .*", line).groups()
        assert Path(config).name == "strongroom.toml"
        with monkeypatch.context() as patches:
            for assignment in given.split():
                patches.setenv(*assignment.split("="))
            assert [*discovery.load(config_file=Path("strongroom.toml")).rotations] == ["database/app"]


# --- what is for other programs ---------------------------------------------------------------------------------------


def faults(document: Mapping[str, Any]) -> list[str]:
    """What Kubernetes would refuse of an object: an unknown field, one that is missing, a value of another type."""
    kind = resource_registry.load(document["apiVersion"], document["kind"])
    try:
        known = msgspec.to_builtins(msgspec.convert(document, kind))
    except msgspec.ValidationError as error:
        return [str(error)]
    return list(unknown(document, known, document["kind"]))


def unknown(written: Any, known: Any, place: str) -> Iterator[str]:
    """The fields that the types of the API have no place for."""
    if isinstance(written, dict):
        yield from (f"{place} has no field {name}" for name in written.keys() - known.keys())
        for name in written.keys() & known.keys():
            yield from unknown(written[name], known[name], f"{place}.{name}")
    elif isinstance(written, list):
        for number, (item, kept) in enumerate(zip(written, known, strict=True)):
            yield from unknown(item, kept, f"{place}[{number}]")


def faults_by_schema(schema: str, text: str) -> str:
    """What a published JSON schema says against a file; nothing where it is well."""
    Path("checked.yaml").write_text(text, "utf-8")
    done = run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, "checked.yaml"])
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_a_file_has_the_form_that_its_program_publishes(name, schema):
    """Compose's specification, and the schemas for jobs of GitHub and GitLab."""
    for text in blocks(pages.page(name), "yaml"):
        assert not faults_by_schema(schema, text)


def test_a_misspelt_key_of_a_file_is_noticed():
    """The schemas are strict where it counts."""
    text = block("docker-compose.md", "yaml")
    assert "depend_on" in faults_by_schema(SCHEMAS["docker-compose.md"], text.replace("depends_on", "depend_on"))


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_objects_are_ones_that_kubernetes_takes(name):
    """By the types of its API."""
    documents = list(yaml.safe_load_all(block(name, "yaml")))
    assert [document["kind"] for document in documents] == KUBERNETES[name]
    for document in documents:
        assert faults(document) == []


@pytest.mark.parametrize(
    ("written", "instead", "fault"),
    [
        ("initContainers:", "initContainer:", "Deployment.spec.template.spec has no field initContainer"),
        ("defaultMode:", "mode:", "Deployment.spec.template.spec.volumes[1].secret has no field mode"),
        ("replicas: 2", "replicas: two", "Expected `int | null`, got `str` - at `$.spec.replicas`"),
        ("{ key: dsn, path:", "{ path:", "missing required field `key`"),
    ],
)
def test_what_kubernetes_would_refuse_is_noticed(written, instead, fault):
    """A field that is misspelt, missing, or of another type."""
    text = block("kubernetes.md", "yaml")
    assert written in text
    *_, deployment = yaml.safe_load_all(text.replace(written, instead))
    (found,) = faults(deployment)
    assert fault in found


# --- the commands in it -----------------------------------------------------------------------------------------------


def test_the_init_container_ends_well_when_the_secrets_are_there(page, openbao, kv2, tmp_path):
    """With the files that the volume mounts, and a Vault that has the rest; and not without one of them."""
    page("kubernetes.md")
    *_, deployment = yaml.safe_load_all(block("kubernetes.md", "yaml"))
    pod = deployment["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for item in volumes["monitoring"]["secret"]["items"]:
        file = tmp_path / item["path"]
        file.parent.mkdir(parents=True)
        file.write_text("https://dsn.example")
    variables = {each["name"]: each["value"] for each in init["env"]}
    variables |= at_server(openbao, kv2) | {"STRONGROOM_STORES_MOUNTED_ROOT": str(tmp_path)}

    once = [argument.replace("60s", "0s") for argument in init["command"]]
    assert run(once, **variables).returncode == 3
    openbao.put("billing/database/connection", {"url": "postgresql://db.example/billing"}, mount=kv2)
    done = run(init["command"], **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split("\t")[4] for line in done.stdout.splitlines()] == ["vault", "mounted"]


def test_the_files_are_where_the_configuration_looks_for_them(page):
    """The mounts of both containers, the root of the store and the file of the token."""
    config = page("kubernetes.md")["stores"]
    *_, deployment = yaml.safe_load_all(block("kubernetes.md", "yaml"))
    pod = deployment["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["monitoring"] == config["mounted"]["root"]
        token = pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["path"]
        assert f"{mounts['vault-token']}/{token}" == config["vault"]["auth"]["token_file"]
    (role,) = re.findall(r"auth/kubernetes/role/(\S+) .*audience=vault", pages.page("kubernetes.md").read_text())
    assert role == config["vault"]["auth"]["role"]


def test_compose_gives_the_service_its_secrets(page, tmp_path):
    """Each target is a file below the root of the store, and its one newline is not in the value."""
    config = page("docker-compose.md")
    root = config["stores"]["mounted"]["root"]
    service = yaml.safe_load(block("docker-compose.md", "yaml"))["services"]["web"]
    for secret in service["secrets"]:
        file = tmp_path / Path(secret["target"]).relative_to(root)
        file.parent.mkdir(parents=True)
        file.write_text(f"{secret['source']}\n")
    variables = {name: re.sub(r"\$\{\w+:-\}", "", value) for name, value in service["environment"].items()}
    variables["STRONGROOM_STORES_MOUNTED_ROOT"] = str(tmp_path)

    command = service["command"][: service["command"].index("--") + 1]
    done = run([*command, "sh", "-c", 'echo "$DB_HOST $DB_PASSWORD $APP_SECRET_KEY ($SENTRY_DSN)"'], **variables)
    assert (done.stdout, done.stderr) == ("db db_password app_secret ()\n", "")
    done = run([*command, "sh", "-c", 'echo "$SENTRY_DSN"'], **variables | {"SENTRY_DSN": "https://dsn.example"})
    assert (done.stdout, done.stderr) == ("https://dsn.example\n", "")


def test_the_steps_of_a_workflow_run(page, openbao, kv2):
    """In their order, with a script in the place of the reader's own."""
    page("github-actions.md")
    workflow = yaml.safe_load(block("github-actions.md", "yaml"))
    openbao.put("billing/database/connection", {"url": "postgresql://db.example/billing"}, mount=kv2)
    openbao.put("billing/deploy/cluster", {"key": "line one\nline two"}, mount=kv2)
    script = Path("script.sh")
    script.write_text('#!/bin/sh\necho "finds $DATABASE_URL$ACTIONS_ID_TOKEN_REQUEST_TOKEN"\n')
    script.chmod(0o700)

    name, job = workflow["jobs"].popitem()
    variables = {**variables_of(workflow), **variables_of(job), **at_server(openbao, kv2)}
    variables["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "?id"
    printed = ""
    for step in job["steps"]:
        if (line := step.get("run")) and not line.startswith("pip "):
            done = run(line.replace(f"./{name}.sh", "./script.sh"), **variables)
            assert (done.returncode, done.stderr) == (0, "")
            printed += done.stdout
    assert printed.endswith("finds postgresql://db.example/billing?id\n")


def test_the_pull_requests_check_needs_no_secret(page):
    """It opens nothing, and runs where GitHub gives no identity."""
    page("github-actions.md")
    workflow = yaml.safe_load(block("github-actions.md", "yaml", "# .github/workflows/deploy.yml"))
    assert "id-token" not in workflow["permissions"]
    line = workflow["jobs"]["configuration"]["steps"][-1]["run"]
    assert run(line, **variables_of(workflow)).returncode == 0


def variables_of(part: dict[str, Any]) -> dict[str, str]:
    """The variables of a workflow or a job, with the checkout in this folder."""
    checkout = str(Path.cwd())
    return {name: text.replace("${{ github.workspace }}", checkout) for name, text in part.get("env", {}).items()}


# --- command lines that nothing runs ----------------------------------------------------------------------------------


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """The arguments of every call of ours in a block that only shows it, by page and line."""
    for page in PAGES:
        for text in blocks(page, "text", "bash", "yaml"):
            for line in text.splitlines():
                for call in re.findall(r"(?:^|[\s;&|])(strongroom(?: [^&|;#\]]*| *$))", re.sub('[",]', "", line)):
                    words = shlex.split(call.replace("'", "") if call.count("'") % 2 else call)
                    if words[1:]:
                        yield f"{page.name}: {line.strip()}", words[1:]


@pytest.mark.parametrize(("shown", "arguments"), [pytest.param(*found, id=found[0]) for found in command_lines()])
def test_a_command_line_that_is_shown_can_be_typed(shown, arguments):
    """The command, its options and its arguments exist."""
    ctx = strongroom.make_context("strongroom", [*arguments])
    while isinstance(ctx.command, click.Group):
        rest = [*ctx._protected_args, *ctx.args]  # as click's groups do; the public name is deprecated
        name, command, rest = ctx.command.resolve_command(ctx, rest)
        ctx = command.make_context(name, rest, parent=ctx)


def test_an_option_that_is_gone_is_noticed():
    """The lines are read as a call would be."""
    with pytest.raises(click.NoSuchOption):
        test_a_command_line_that_is_shown_can_be_typed("", ["check", "--waits", "60s"])
