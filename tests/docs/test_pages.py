"""What the README and the documentation show is what happens: their blocks run, page by page, in an empty folder."""

import subprocess

import pytest

from support.scenarios import page_blocks, page_services, pages

PAGES = [pages.README, *pages.pages()]

NEEDS = {
    "server",
    "aws",
    "etcd",
    "keepass",
    "google",
    "azure",
    "kubernetes",
    "pass",
    "secret apis",
    "guides",
    "guides, server",
    "guides, docker",
    "guides, systemd",
    "airflow",
    "agents",
}
"""Possible needs of a page's blocks, which a comment on the page lists: `<!-- needs: server -->`.

`server` is for a reader with VAULT_ADDR and VAULT_TOKEN set, and with PGHOST, PGPORT and PGPASSWORD if the page names
them; `aws` for one with credentials of AWS; `google` for one with a project at Google; `azure` for one with a vault at
Azure; `secret apis` for one with accounts of 1Password, Doppler, Infisical and Bitwarden; `kubernetes` for one whose
kubectl finds a cluster; `etcd` for one with ETCDCTL_ENDPOINTS and ETCDCTL_PASSWORD set; `keepass` for one with a
database; `pass` for one with a password store.
tests/guides runs the pages that need `guides`, which take seconds: with `server` on a server of the tests, with
`docker` or `systemd` on a real one of the tests, and without it on the servers that the page starts. `nox -s airflow`
and `nox -s agents` run those that need `airflow` or `agents`.
"""

ELSEWHERE = {"guides", "airflow", "agents"}
"""Needs of pages that other tests run."""


@pytest.fixture
def reader(monkeypatch):
    """A reader's process."""
    with page_blocks.reading(monkeypatch):
        yield


def test_no_page_is_left_out():
    """A page whose need is unknown, or that has several, would run nowhere."""
    run = [page for needs in ((), *(need.split(", ") for need in NEEDS)) for page in pages.that_need(*needs)]
    assert len(run) == len(PAGES)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page == pages.README else pytest.mark.long)
        for page in PAGES
        if not pages.needs(page) & ELSEWHERE
    ],
    ids=pages.name_of,
)
def test_the_blocks_of_a_page_run(page, request, monkeypatch):
    """In the order of the page, in one namespace, for a reader with the services that the page needs."""
    with page_services.services_of(page, pages.needs(page), request, monkeypatch):
        page_blocks.run_page(page)


# --- the README and CI ------------------------------------------------------------------------------------------------


def test_ci_runs_the_lines_of_the_readme():
    """The two lines that do everything are each a block of their own, and `.ci/run` takes them from there."""
    blocks = pages.blocks(pages.README, "bash")
    done = subprocess.run([pages.ROOT / ".ci" / "run", "--plan"], capture_output=True, text=True, check=True)
    demo, tests, *checks = done.stdout.splitlines()
    assert [f"{demo}\n", f"{tests}\n"] == blocks
    assert demo.endswith("strongroom dev --demo")
    assert tests.endswith("pytest")
    assert {
        "lint",
        "typing",
        "contracts",
        "docs",
        "build",
        "long",
        "pages",
        "guides",
        "airflow",
        "agents",
        "faults",
    } <= {*checks}


def test_ci_calls_sessions_that_exist():
    """Each check is a session of the noxfile."""
    done = subprocess.run([pages.ROOT / ".ci" / "run", "--plan"], capture_output=True, text=True, check=True)
    noxfile = (pages.ROOT / "noxfile.py").read_text("utf-8")
    for name in done.stdout.splitlines()[2:]:
        assert f"\ndef {name}(session: nox.Session)" in noxfile or f'\n    "{name}": Tests(' in noxfile
