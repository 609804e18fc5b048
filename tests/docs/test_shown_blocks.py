"""Every block runs with its page, or is in the table below with the test that checks it."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement

import strongroom
import strongroom_vault
from strongroom import errors
from support.scenarios import pages

RUN = {"python", "console", "toml", "ini", "hcl"}
"""Languages whose blocks run with their page, or are files that its later blocks read."""

OURS = "test_a_command_line_that_is_shown_can_be_typed"
SERVER = "test_the_commands_for_a_server_are_ones_that_it_takes"
DOCKER = "test_the_blocks_of_a_page_run_with_docker"
KUBERNETES = "test_the_objects_are_ones_that_kubernetes_takes"
WORKFLOW = "test_a_file_has_the_form_that_its_program_publishes"

CHECKED = {
    "README.md": {"python3 -m venv": "test_ci_runs_the_lines_of_the_readme"},
    "how-to/agents/coding-agents.md": {
        "mkdir": "test_worker_uses_a_secret_through_the_socket",
    },
    "how-to/authentication/aws-iam.md": {"vault policy write": SERVER},
    "how-to/authentication/jwt.md": {"bao auth enable jwt": SERVER},
    "how-to/integrations/django.md": {"strongroom check": "test_django_serves"},
    "how-to/platforms/aws-lambda.md": {"{": "test_aws_takes_the_policy_of_the_function"},
    "how-to/platforms/cron.md": {"# report.cron": "test_cron_takes_the_lines"},
    "how-to/platforms/docker-compose.md": {"# Dockerfile": DOCKER, "# compose.yaml": DOCKER},
    "how-to/platforms/github-actions.md": {"# .github/workflows": WORKFLOW, "bao write": SERVER},
    "how-to/platforms/kubernetes.md": {"# deployment.yaml": KUBERNETES, "bao write": SERVER, "kubectl exec": OURS},
    "how-to/plugins/write-a-store.md": {"pytest": "test_the_store_of_the_basic_page_keeps_the_contract"},
    "how-to/programs.md": {"# .gitlab-ci.yml": WORKFLOW},
    "how-to/production/audit-devices.md": {
        "vault audit": "test_an_audit_device_is_enabled_if_the_server_allows_it",
        "# audit.logrotate": "test_logrotate_takes_the_file",
    },
    "how-to/production/backup.md": {"# backup.sh": "test_the_blocks_of_a_guide_run"},
    "how-to/production/monitoring.md": {"# prometheus.yml": "test_prometheus_takes_the_file"},
    "how-to/secrets/rotation.md": {"# /etc/cron.d/": "test_cron_takes_the_lines"},
    "how-to/stores/kubernetes-api.md": {"# role.yaml": "test_the_role_of_the_page_is_enough_to_read"},
    "how-to/troubleshooting.md": {"": "test_every_message_of_the_page_for_troubleshooting_is_in_the_code"},
    "reference/errors.md": {"StrongroomError": "test_the_tree_of_errors_is_that_of_the_code"},
    "reference/stores/local-stores.md": {
        "#ENC": "test_the_file_of_sops_has_the_form_of_the_page",
        "dbus-run-session": "test_a_job_without_a_desktop_gets_a_keyring",
    },
    "tutorial/shop.md": {
        "mkdir shop": "test_an_installation_names_packages_that_there_are",
        "# compose.yaml": DOCKER,
    },
}
"""The blocks that their page does not run, by their page and first words: the test of each."""

BLOCK = re.compile(r"^ *```+ *([^\s`{]+)\n *(.*?)^ *```+$", re.MULTILINE | re.DOTALL)


def shown() -> list[tuple[str, str]]:
    """The blocks that no page runs: its page, and its text."""
    return [
        (pages.name_of(page), text)
        for page in (pages.README, *pages.pages())
        for language, text in BLOCK.findall(page.read_text("utf-8"))
        if language not in RUN
    ]


def is_ours(text: str) -> bool:
    """Return True if each line is a command of ours or an installation: both have a separate test."""
    return all(line.startswith(("strongroom ", "pip install ")) for line in text.splitlines())


def test_a_block_that_does_not_run_is_checked():
    """By the test that the table names."""
    for page, text in shown():
        assert is_ours(text) or any(text.startswith(begin) for begin in CHECKED.get(page, ())), f"{page}:\n{text}"


def test_the_table_has_no_row_too_many():
    """Each row is for a block, and names a test that there is."""
    blocks = shown()
    tests = "".join(file.read_text("utf-8") for file in (pages.ROOT / "tests").rglob("test_*.py"))
    for page, rows in CHECKED.items():
        for begin, check in rows.items():
            assert any(page == name and text.startswith(begin) for name, text in blocks), (page, begin)
            assert f"\ndef {check}(" in tests, check


# --- the blocks that no other program reads --------------------------------------------------------------------------


def installations() -> list[tuple[str, str]]:
    """The packages that a page installs with pip, in a block or in its text."""
    found = []
    for page in (pages.README, *pages.pages()):
        for command in re.findall(r"(?<!-m )pip install ([^&`\n]+)", page.read_text("utf-8")):
            words = command.replace("--no-cache-dir", "").replace("'", "").split()
            found += [(pages.name_of(page), word) for word in words if re.match(r"strongroom(\[|$)", word)]
    return found


def test_an_installation_names_packages_that_there_are():
    """Each extra is in `pyproject.toml`."""
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for page, requirement in installations():
        assert Requirement(requirement).extras <= project["optional-dependencies"].keys(), page


def test_the_tree_of_errors_is_that_of_the_code():
    """Each class stands below its base, and none is missing."""
    [tree] = pages.blocks(pages.page("reference/errors.md"), "text")
    above: list[str] = []
    for line in tree.splitlines():
        indent, name = re.match(r"([│├└─ ]*)(\w+)", line).groups()
        depth = len(indent) // 4
        above[depth:] = [name]
        error = getattr(errors, name, None) or getattr(strongroom, name, None) or getattr(strongroom_vault, name)
        if depth:
            assert above[depth - 1] in {base.__name__ for base in error.__bases__}, name
    named = set(re.findall(r"\w+Error", tree))
    assert {name for name in (*strongroom.__all__, *strongroom_vault.__all__) if name.endswith("Error")} <= named
