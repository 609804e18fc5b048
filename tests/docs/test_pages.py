"""What the README and the documentation show is what happens: their blocks run, page by page, in an empty folder."""

import re
import shlex
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

import page_blocks
import pages
from postgres import running_postgres

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *pages.pages()]

NEEDS = {"server", "aws", "pass", "terminal", "guides", "guides, server"}
"""What the blocks of a page may need. A page says so itself, in a comment: `<!-- needs: server -->`.

`server` is for a reader with VAULT_ADDR and VAULT_TOKEN set, and with PGHOST, PGPORT and PGPASSWORD if the page names
them; `aws` for one with credentials of AWS; `pass` for one with a password store. `terminal` is for the one page that
starts its server itself, and `guides` for those that take seconds, which tests/guides runs: with `server` like the
others, without it as pages that start their servers themselves.
"""


def name_of(page: Path) -> str:
    """A page as the documentation's links name it, and the README by its name."""
    return page.relative_to(pages.DOCS).as_posix() if page.is_relative_to(pages.DOCS) else page.name


def pages_that_need(*needs: str) -> list[ParameterSet]:
    """Return the pages that need exactly this, named as the documentation's links name them."""
    return [pytest.param(page, id=name_of(page)) for page in PAGES if pages.needs(page) == set(needs)]


FENCE = re.compile(r"^```+ *([^\s`]*)\n(?=.)", re.MULTILINE)
RUN = {"python", "toml", "ini", "hcl", "console"}
VALIDATED = {"yaml", "dockerfile"}
"""Blocks for another program, which tests/docs/test_how_to.py and tests/guides hold against that program's schema."""

SHOWN = {"text", "bash"}
"""Blocks that do not run: drawings, and what installs; the README's of those are what `.ci/run` runs."""

DIRECTIVES = {"{eval-rst}", "{glossary}", "{image}", "{include}", "{literalinclude}", "{toctree}"}


@pytest.fixture
def reader(monkeypatch):
    """A reader's process."""
    with page_blocks.reading(monkeypatch):
        yield


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_checked(page):
    """A block in a language that nothing runs would be free to lie."""
    assert set(FENCE.findall(page.read_text("utf-8"))) - {""} <= RUN | VALIDATED | SHOWN | DIRECTIVES


def test_no_page_is_left_out():
    """A page whose need is unknown, or that has several, would run nowhere."""
    run = [page for needs in ((), *(need.split(", ") for need in NEEDS)) for page in pages_that_need(*needs)]
    assert len(run) == len(PAGES)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages_that_need())
def test_the_blocks_of_a_page_run(page):
    """In the order of the page, in one namespace."""
    page_blocks.run_page(page)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages_that_need("server"))
def test_the_blocks_of_a_page_run_on_a_real_server(page, own_openbao, monkeypatch):
    """As for a reader who has started one, and a PostgreSQL where the page tells of one."""
    monkeypatch.setenv("VAULT_ADDR", own_openbao.url)
    monkeypatch.setenv("VAULT_TOKEN", own_openbao.token)
    monkeypatch.setenv("STRONGROOM_TRUSTED_PATHS", str(Path.cwd()))
    with running_postgres() if "PGPORT" in page.read_text("utf-8") else nullcontext() as postgres:
        if postgres is not None:
            monkeypatch.setenv("PGHOST", "127.0.0.1")
            monkeypatch.setenv("PGPORT", str(postgres.port))
            monkeypatch.setenv("PGPASSWORD", postgres.password)
        page_blocks.run_page(page)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages_that_need("terminal"))
def test_the_quickstart_runs_in_a_terminal_that_has_what_its_server_printed(page, monkeypatch):
    """The page shows every line that `strongroom dev` prints for a shell, and what follows runs with all of them."""
    [shown] = re.findall(r"^```text\n\$ strongroom dev\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    with subprocess.Popen(["strongroom", "dev"], stdout=subprocess.PIPE, text=True) as server:
        try:
            for line in shown.splitlines():
                printed = server.stdout.readline().rstrip("\n")
                assert re.fullmatch(".*".join(map(re.escape, line.split("…"))), printed)
                monkeypatch.setenv(*shlex.split(printed)[1].split("=", 1))
            page_blocks.run_page(page)
        finally:
            server.send_signal(signal.SIGINT)
        assert not server.stdout.read(), "it prints more than the page shows"


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages_that_need("aws"))
def test_the_blocks_of_a_page_run_on_aws(page, moto, monkeypatch):
    """As for a reader whose boto3 finds an account."""
    moto.use(monkeypatch)
    page_blocks.run_page(page)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", pages_that_need("pass"))
def test_the_blocks_of_a_page_run_with_pass(page, gpg_home, tmp_path, monkeypatch):
    """As for a reader who has run `pass init`."""
    monkeypatch.setenv("PASSWORD_STORE_DIR", str(gpg_home.init(tmp_path / "store")))
    page_blocks.run_page(page)


# --- the README and CI ------------------------------------------------------------------------------------------------


def test_ci_runs_the_lines_of_the_readme():
    """The two lines that do everything are each a block of their own, and `.ci/run` takes them from there."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    done = subprocess.run([ROOT / ".ci" / "run", "--plan"], capture_output=True, text=True, check=True)
    demo, tests, *checks = done.stdout.splitlines()
    assert [f"{demo}\n", f"{tests}\n"] == blocks
    assert demo.endswith("strongroom dev --demo")
    assert tests.endswith("pytest")
    assert checks[:5] == ["lint", "typing", "contracts", "docs", "build"]
    assert {"pages", "guides", "faults", "kills"} <= {*checks}


def test_ci_calls_sessions_that_exist():
    """Each check is a session of the noxfile."""
    done = subprocess.run([ROOT / ".ci" / "run", "--plan"], capture_output=True, text=True, check=True)
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    for name in done.stdout.splitlines()[2:]:
        assert f"\ndef {name}(session: nox.Session)" in noxfile
