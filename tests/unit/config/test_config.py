"""The file format, the variables and the arguments, and which of them counts."""

import time
import tomllib
import traceback
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom._config import Ambient, CacheConfig, Config, LinkConfig, Rank, SecretConfig, Setting
from strongroom._config.file import FileConfig, read_file
from strongroom._config.precedence import Arguments, build
from strongroom._config.variables import Variables, option_variable, read_variables
from strongroom.errors import ConfigurationError
from strongroom.formats.durations import parse_duration
from strongroom.secret import SensitiveStr

CANARY = "canary-1f7c"

WHOLE_FILE = """
version = 1
environment = "dev"
timeout = "8s"

[secrets]
DATABASE_URL = "database/connection#url"
OPENAI_API_KEY = "api-keys/openai/key"
DB_POOL_SIZE = { at = "database/pool#size", default = 5 }
SENTRY_DSN = { at = "monitoring/sentry#dsn", required = false }

[cache]
ttl = "5m"
max_stale = 1800
missing_ttl = "500ms"
max_entries = 64
max_bytes = 4096

[stores.vault]
url = "https://vault.corp.example:8200"
mount = "kv"
prefix = "billing/{environment}"

[stores.mounted]
plugin = "files"
root = "/run/secrets/billing"

[environments.dev]
chain = ["env", { store = "dotenv" }, { store = "vault", timeout = 1.5, on_denied = "next" }]
timeout = 9
[environments.dev.cache]
ttl = 0
[environments.dev.stores.vault]
url = "http://127.0.0.1:8200"

[environments.prod]
production = true
chain = [
  { store = "mounted", paths = ["bootstrap/*"] },
  { store = "vault" },
  { store = "env", paths = ["monitoring/*"], on_missing_key = "next" },
]
[environments.prod.stores.vault]
auth = { method = "kubernetes", role = "billing" }
"""


def read(text: str, **options) -> FileConfig:
    return read_file(tomllib.loads(text), "app.toml", **options)


def configured(
    text: str = "", *, environ: dict[str, str] | None = None, dotenv: dict[str, str] | None = None, **said
) -> Config:
    """The configuration that a file, the process, a .env file and arguments make, without reading any of them."""
    process = environ or {}
    variables = read_variables(process)
    file = read(text, environment=said.get("environment") or variables.environment)
    ambient = [Ambient(process), Ambient(dotenv or {}, Rank.DOTENV, "./.env")]
    return build(Arguments(**said), variables, file, ambient)


def policies(config: Config) -> tuple[LinkConfig, ...]:
    """The links, without the origins of their settings."""
    return tuple(link._replace(settings={}) for link in config.chain)


def origins_of(settings: Mapping[str, Setting]) -> dict[str, str]:
    return {name: setting.origin for name, setting in settings.items()}


def refusal(text: str = "", **said) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configured(text, **said)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestFile:
    def test_an_environment_is_laid_over_the_top(self):
        """The environment's chain, timeout and cache count; in a store its options replace those of the same name."""
        config = configured(WHOLE_FILE)
        assert config.environment == "dev"
        assert not config.production
        assert config.timeout == 9.0
        assert config.cache == CacheConfig(ttl=0.0, max_stale=1800.0, missing_ttl=0.5, max_entries=64, max_bytes=4096)
        assert policies(config) == (
            LinkConfig("env"),
            LinkConfig("dotenv"),
            LinkConfig("vault", timeout=1.5, on_denied="next"),
        )
        vault = config.stores["vault"]
        assert vault.plugin == "vault"
        assert {name: option.value for name, option in vault.options.items()} == {
            "url": "http://127.0.0.1:8200",
            "mount": "kv",
            "prefix": "billing/dev",
        }
        assert vault.options["url"].origin == "app.toml: [environments.dev.stores.vault] url"
        assert vault.options["mount"].origin == "app.toml: [stores.vault] mount"

    def test_production_fails_on_outages_and_missing_keys(self):
        """They fail where the link itself says nothing, and no name of a variable is derived."""
        config = configured(WHOLE_FILE, environment="prod")
        assert config.production
        assert policies(config) == (
            LinkConfig("mounted", ("bootstrap/*",), 3.0, "fail", "fail", "fail"),
            LinkConfig("vault", (), 3.0, "fail", "fail", "fail"),
            LinkConfig("env", ("monitoring/*",), 3.0, "fail", "fail", "next"),
        )
        assert config.stores["mounted"].plugin == "files"
        assert config.mapping.variable("some/path", "key") is None
        assert configured(WHOLE_FILE).mapping.variable("some/path", "key") == "SOME_PATH_KEY"

    def test_the_secrets_table_in_its_three_forms(self):
        """PATH#KEY, PATH/KEY, and a table; a default makes a row optional, and its value shows in no repr."""
        config = configured(WHOLE_FILE.replace("default = 5", f'default = "{CANARY}"'))
        assert {variable: row._replace(origin="") for variable, row in config.secrets.items()} == {
            "DATABASE_URL": SecretConfig("database/connection", "url"),
            "OPENAI_API_KEY": SecretConfig("api-keys/openai", "key"),
            "DB_POOL_SIZE": SecretConfig("database/pool", "size", CANARY, required=False),
            "SENTRY_DSN": SecretConfig("monitoring/sentry", "dsn", required=False),
        }
        assert config.mapping.locate("SENTRY_DSN") == ("monitoring/sentry", "dsn")
        assert CANARY not in repr(config)

    def test_a_file_without_environments_has_its_chain_at_the_top(self):
        """The environment is then a name for the placeholder."""
        config = configured(
            'chain = [{ store = "vault" }]\nproduction = true\n[stores.vault]\nprefix = "{environment}/app"',
            environment="blue",
        )
        assert config.production
        assert policies(config) == (LinkConfig("vault", (), 3.0, "fail", "fail", "fail"),)
        assert config.stores["vault"].options["prefix"].value == "blue/app"

    def test_a_script_for_curl_is_an_option(self):
        """`%{http_code}` is a name of curl's, and not a placeholder."""
        script = ["sh", "-c", "curl -w '%{http_code}' $URL"]
        config = configured(f"chain = ['command']\n[stores.command]\nread = {script}")
        assert config.stores["command"].options["read"].value == script

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("version = 2", ["app.toml: it needs a later Strongroom: its format is version 2"]),
            ('version = "1"', ["app.toml: version: must be a whole number"]),
            ("chains = []", ["app.toml: chains: unknown key", 'did you mean "chain"?']),
            ("environment = 3", ["app.toml: environment: must be a string", "not an integer"]),
            ('environment = "../etc"', ['The environment "../etc" is not a valid name']),
            ("chain = []", ["app.toml: chain: must be a list with at least one link"]),
            ('chain = "vault"', ["app.toml: chain: must be a list"]),
            ("chain = [3]", ["app.toml: chain[0] must be a store's name or a table, not an integer"]),
            ("chain = [{ paths = [] }]", ["app.toml: [chain[0]] store: is missing"]),
            ('chain = ["env", "env"]', ["chain[1]: the store env is in the chain already"]),
            ('chain = ["a b"]', ["[chain[0]] store: is not a store name"]),
            ('chain = [{ store = "env", timeout = 0 }]', ["[chain[0]] timeout: must be more than zero"]),
            ('chain = [{ store = "env", paths = "a/*" }]', ["[chain[0]] paths: must be a list of strings"]),
            (
                'chain = [{ store = "env", on_denied = "skip" }]',
                ['[chain[0]] on_denied: must be one of "next", "fail", not a string'],
            ),
            ('chain = [{ store = "env", on_deny = "next" }]', ["[chain[0]] on_deny: unknown key", '"on_denied"?']),
            ('timeout = "10 parsecs"', ["app.toml: timeout: must be a duration"]),
            ("timeout = true", ["app.toml: timeout: must be a duration"]),
            ("timeout = -1", ["app.toml: timeout: must be a duration"]),
            ("timeout = nan", ["app.toml: timeout: must be a duration"]),
            ("production = 1", ["app.toml: production: must be true or false, not an integer"]),
            ('[cache]\nkey = "keyring"', ["app.toml: [cache] key: it was removed: the root key is a file"]),
            ('[environments.a.cache]\nkey = "x"', ["[environments.a.cache] key: it was removed: the root key"]),
            ("[cache]\nttls = 1", ["app.toml: [cache] ttls: unknown key", 'did you mean "ttl"?']),
            ("[cache]\nmax_entries = 0", ["app.toml: [cache] max_entries: must be a whole number, 1 or more"]),
            ("[cache]\nmax_bytes = 1.5", ["app.toml: [cache] max_bytes: must be a whole number, 1 or more"]),
            ("[cache]\nnever = ['a', '']", ["app.toml: [cache] never: must be a list of strings"]),
            ("[audit]\nfile = ''", ["app.toml: [audit] file: must be a file's path, not an empty string"]),
            ("[audit]\nfile = '~nobody-of-that-name/x'", ["app.toml: [audit] file: ", "home folder is not known"]),
            ("cache = 5", ["app.toml: cache: must be a table, not an integer"]),
            ("[stores]\nvault = 5", ["app.toml: [stores] vault: must be a table"]),
            ("[stores.'a b']", ['app.toml: [stores] "a b": is not a store name']),
            ("[stores.vault]\nplugin = 5", ["app.toml: [stores.vault] plugin: must be a string"]),
            ("[stores.v]\nprefix = '{environment}'", ["[stores.v] prefix: has {environment}, and no environment is"]),
            ("[stores.v]\nauth = { x = ['{enviroment}'] }", ["[stores.v] auth: has a placeholder", "{ env = … }"]),
            ("[stores.v]\nurl = '${VAULT_URL}'", ["[stores.v] url: has a placeholder", "{ env = … }"]),
            ("[secrets]\nX_URL = 5", ["app.toml: [secrets] X_URL: must be", "not an integer"]),
            ("[secrets]\nX_URL = 'no-key'", ["app.toml: [secrets] X_URL: must be", "PATH#KEY"]),
            ("[secrets]\nX_URL = 'a//b#c'", ["app.toml: [secrets] X_URL", "double slash"]),
            ("[secrets]\nX_URL = { default = 1 }", ["app.toml: [secrets.X_URL] at: is missing"]),
            ("[secrets]\nX_URL = { at = 'a#b', requird = true }", ["[secrets.X_URL] requird: unknown", '"required"?']),
            ("[secrets]\nX_URL = { at = 'a#b', default = nan }", ["[secrets.X_URL] default: must be"]),
            ("[secrets]\nX_URL = { at = 'a#b', default = 2020-01-01 }", ["[secrets.X_URL] default: must be"]),
            (
                "[secrets]\nX_URL = { at = 'a#b', default = 1, required = true }",
                ["app.toml: [secrets.X_URL] required: must not be true beside `default`"],
            ),
            ("[secrets]\nVAULT_TOKEN = 'a#b'", ["app.toml: [secrets] VAULT_TOKEN", "reserved"]),
            ("[secrets]\nONE = 'a#b'\nTWO = 'a#b'", ["app.toml: [secrets] TWO", "two variables for a#b"]),
        ],
    )
    def test_a_mistake_is_an_error_that_names_file_table_and_key(self, text, words):
        """Unknown keys, wrong types, a format from the future: each one line."""
        message = refusal(text)
        assert [word for word in words if word not in message] == [], message

    @pytest.mark.parametrize("text", ["", "production = false", '[stores.vault]\nprefix = "environment"'])
    def test_an_environment_that_would_change_nothing_is_refused(self, text):
        """Whoever selects production would get the rules of development without a word; those of production are none.

        A chain in code is its own.
        """
        message = refusal(text, environment="prod")
        assert (
            "The environment prod is selected, and app.toml has neither environments nor {environment} nor" in message
        )
        assert configured(text, environment="prod", chain=["env"]).environment == "prod"
        assert configured("production = true", environment="prod").environment == "prod"

    def test_a_file_with_environments_wants_one_of_them(self):
        """Without a selection, and with a wrong one, the message lists what there is."""
        file = "[environments.dev]\n[environments.prod]"
        assert "set STRONGROOM_ENVIRONMENT to one of dev, prod" in refusal(file)
        message = refusal(file, environment="prood")
        assert 'no environment prood; did you mean "prod"? known here: dev, prod' in message

    def test_a_long_chain_is_read_once_and_in_linear_time(self):
        """A file of the largest size took minutes when each link was compared with all others, in each environment."""
        chain = ", ".join(f'"s{number}"' for number in range(20_000))
        text = f"chain = [{chain}]\n" + "".join(f"[environments.e{number}]\n" for number in range(1_000))
        started = time.process_time()
        assert len(read(text, environment="e0").chain or ()) == 20_000
        assert time.process_time() - started < 5

    def test_a_name_cannot_fill_the_memory(self):
        """It is put in the place of each `{environment}`."""
        text = f'environment = "{"e" * 129}"\n[stores.s]\nfile = "{{environment}}{{environment}}"'
        assert "at most 128" in refusal(text)

    def test_a_message_lists_a_bounded_number_of_names(self):
        text = "".join(f"[environments.e{number}]\n" for number in range(1_000))
        for environment in (None, "other"):
            message = refusal(text, environment=environment)
            assert len(message) < 600
            assert message.endswith(" and 960 more")

    def test_a_mistake_in_an_environment_that_is_not_selected_is_found(self):
        """A typing error in production's table shows in development."""
        file = "[environments.dev]\n[environments.prod]\n"
        assert "[environments.prod] chian" in refusal(f'{file}chian = ["env"]', environment="dev")
        assert "[environments.prod.chain[0]]" in refusal(f"{file}chain = [{{}}]", environment="dev")

    def test_a_literal_token_shows_in_no_error_and_no_repr(self):
        """Whatever is wrong around it."""
        store = f'[stores.vault]\ntoken = "{CANARY}"\n'
        assert CANARY not in repr(configured(f'chain = ["vault"]\n{store}'))
        for broken in (
            f'[stores.vault]\ntoken = "{{x}}{CANARY}"',
            f'[stores.vault.token]\nplugin = "{CANARY}"\n[stores.vault."a b"]\n[environments]\nx = "{CANARY}"',
            f'[cache]\nttl = "{CANARY}"',
            f'production = "{CANARY}"',
            f'[secrets]\nX = ["{CANARY}"]',
            f'[secrets]\nX = {{ at = "a#b", default = [nan, "{CANARY}"] }}',
        ):
            assert CANARY not in refusal(broken)


class TestPrecedence:
    def test_arguments_then_variables_then_the_file(self):
        """For the environment, the lifetimes and the timeout alike."""
        file = f"{WHOLE_FILE}"
        environ = {
            "STRONGROOM_ENVIRONMENT": "prod",
            "STRONGROOM_CACHE_TTL": "7m",
            "STRONGROOM_CACHE_MISSING_TTL": "2",
            "STRONGROOM_TIMEOUT": "4s",
        }
        config = configured(file, environ=environ)
        assert (config.environment, config.timeout) == ("prod", 4.0)
        assert config.cache == CacheConfig(ttl=420.0, max_stale=1800.0, missing_ttl=2.0, max_entries=64, max_bytes=4096)
        config = configured(file, environ=environ, environment="dev", cache_ttl=600)
        assert (config.environment, config.cache.ttl) == ("dev", 600.0)

    def test_each_setting_knows_the_source_that_counts(self):
        """In words; what nobody says has its default and is not there."""
        environ = {"STRONGROOM_ENVIRONMENT": "prod", "STRONGROOM_CACHE_TTL": "7m", "STRONGROOM_TIMEOUT": "4s"}
        top = 'timeout = "9s"\n[cache]\nmax_stale = "1h"\nttl = "1m"\n[environments]\ndev = {}\n[environments.prod]\n'
        file = f'{top}production = true\nchain = ["env", {{ store = "files", timeout = 1 }}]\n'
        origins = origins_of(configured(file, environ=environ).settings)
        assert origins["environment"] == "the environment variable STRONGROOM_ENVIRONMENT"
        assert origins["timeout"] == "the environment variable STRONGROOM_TIMEOUT"
        assert origins["cache.ttl"] == "the environment variable STRONGROOM_CACHE_TTL"
        assert origins["cache.max_stale"] == "app.toml: [cache] max_stale"
        assert origins["production"] == "app.toml: [environments.prod] production"
        assert "cache.missing_ttl" not in origins
        config = configured(file, environ=environ, environment="prod", cache_ttl=600)
        assert config.settings["environment"].origin == "the argument environment"
        assert config.settings["cache.ttl"].origin == "the argument cache_ttl"
        assert [origins_of(link.settings) for link in config.chain] == [
            {"store": "app.toml: [environments.prod.chain[0]] store"},
            {
                "store": "app.toml: [environments.prod.chain[1]] store",
                "timeout": "app.toml: [environments.prod.chain[1]] timeout",
            },
        ]
        (link,) = configured(chain=["env"]).chain
        assert origins_of(link.settings) == {"store": "the argument chain: [chain[0]] store"}
        assert all(link.settings == {} for link in configured().chain)

    def test_an_empty_variable_says_nothing(self):
        """Some CI systems set what is absent to the empty string."""
        config = configured(environ={"STRONGROOM_TIMEOUT": "", "STRONGROOM_UNHEARD_OF": "", "VAULT_ADDR": ""})
        assert config.timeout == 10.0
        assert [link.store for link in config.chain] == ["env", "dotenv"]

    def test_a_store_option_from_a_variable(self):
        """STRONGROOM_STORES_<NAME>_<OPTION>; where two names fit, the longer one is meant."""
        file = 'chain = ["my", "my-vault"]'
        environ = {"STRONGROOM_STORES_MY_VAULT_URL": "https://one", "STRONGROOM_STORES_MY_VAULTED": "two"}
        stores = configured(file, environ=environ).stores
        assert stores["my-vault"].options["url"].value == "https://one"
        assert stores["my-vault"].options["url"].origin == "the environment variable STRONGROOM_STORES_MY_VAULT_URL"
        assert stores["my"].options["vaulted"].value == "two"

    @pytest.mark.parametrize("store", ["vault", "my-vault.eu", "9"])
    def test_the_name_that_is_made_is_the_name_that_is_read(self, store):
        """`strongroom dev` leads stores away from their servers by these names."""
        said = configured(f'chain = ["{store}"]', environ={option_variable(store, "ca_cert"): "x"}).stores[store]
        assert said.options["ca_cert"].value == "x"

    def test_a_variable_for_a_store_of_another_environment_is_no_mistake(self):
        """One environment of variables serves all environments of the file."""
        file = "[environments.dev]\n[environments.prod.stores.corp]\n"
        environ = {"STRONGROOM_STORES_CORP_URL": "https://one", "STRONGROOM_ENVIRONMENT": "dev"}
        assert "corp" not in configured(file, environ=environ).stores

    @pytest.mark.parametrize(("text", "disk"), [("true", True), ("On", True), ("f", False), (" no ", False)])
    def test_a_variable_takes_the_words_of_a_boolean_that_an_option_takes(self, text, disk):
        """One list of words for variables, options and values of secrets."""
        assert configured("", environ={"STRONGROOM_CACHE_DISK": text}).cache.disk is disk

    @pytest.mark.parametrize(
        ("environ", "words"),
        [
            ({"STRONGROOM_CASH_TTL": CANARY}, "STRONGROOM_CASH_TTL is unknown"),
            ({"STRONGROOM_CACHE_TTL": CANARY}, "STRONGROOM_CACHE_TTL must be a duration"),
            ({"STRONGROOM_TIMEOUT": "0"}, "STRONGROOM_TIMEOUT must be more than zero"),
            ({"STRONGROOM_CACHE_DISK": CANARY}, "STRONGROOM_CACHE_DISK must be true or false"),
            ({"STRONGROOM_STORES_VALUT_URL": CANARY}, "STRONGROOM_STORES_VALUT_URL names no store"),
            ({"STRONGROOM_STORES_VAULT_": CANARY}, "STRONGROOM_STORES_VAULT_ names no store"),
        ],
    )
    def test_a_variable_that_means_nothing_is_an_error(self, environ, words):
        """A misspelt variable would else be ignored in silence. Its value is not shown."""
        message = refusal(environ=environ)
        assert words in message
        assert CANARY not in message

    def test_the_text_of_a_wrong_variable_is_in_no_frame_of_the_error(self):
        """It may be a credential in the wrong variable, and error reports show the local variables of each frame."""
        with pytest.raises(ConfigurationError) as caught:
            read_variables({"STRONGROOM_CACHE_TTL": SensitiveStr(CANARY)})
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
        assert len(frames) > 1
        assert CANARY not in "".join(repr(frame.f_locals) for frame in frames)

    def test_a_variable_that_fits_two_stores_is_an_error(self):
        """`a-b` and `a_b` are alike in upper case."""
        message = refusal('chain = ["a-b", "a_b"]', environ={"STRONGROOM_STORES_A_B_URL": "x"})
        assert "fits more than one store: a-b, a_b" in message


class TestChainWithoutConfiguration:
    def test_the_environment_then_dotenv(self):
        """Nothing says where Vault is."""
        assert [link.store for link in configured().chain] == ["env", "dotenv"]

    @pytest.mark.parametrize(
        "said",
        [
            {"environ": {"VAULT_ADDR": "http://127.0.0.1:8200"}},
            {"environ": {"BAO_ADDR": "http://127.0.0.1:8200"}},
            {"environ": {"STRONGROOM_STORES_VAULT_URL": "http://127.0.0.1:8200"}},
            {"dotenv": {"VAULT_ADDR": "http://127.0.0.1:8200"}},
            {"vault_url": "http://127.0.0.1:8200"},
            {"vault_token": CANARY},
            {"text": "[stores.vault]\nurl = 'http://127.0.0.1:8200'"},
        ],
    )
    def test_vault_first_when_something_is_said_of_it(self, said):
        """A token without an address is in it too: the missing address is then an error, and not a quiet fallback."""
        config = configured(**said)
        assert [link.store for link in config.chain] == ["vault", "env", "dotenv"]

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            ({"environ": {"VAULT_TOKEN": CANARY}}, "the environment variable VAULT_TOKEN is set without an address"),
            ({"environ": {"BAO_TOKEN": CANARY}}, "the environment variable BAO_TOKEN is set without an address"),
            ({"dotenv": {"VAULT_TOKEN": CANARY}}, "VAULT_TOKEN in ./.env is set without an address"),
            (
                {"environ": {"STRONGROOM_STORES_VAULT_TOKEN": CANARY}, "text": "production = true"},
                "the environment variable STRONGROOM_STORES_VAULT_TOKEN is set without an address",
            ),
        ],
    )
    def test_a_credential_without_an_address_leaves_vault_out_by_name(self, said, reason):
        """A lost VAULT_ADDR would otherwise look like a machine without Vault."""
        config = configured(**said)
        assert "vault" not in [link.store for link in config.chain]
        assert config.left_out == ("vault", reason, "Set VAULT_ADDR, or unset the credential")
        assert CANARY not in repr(config.left_out)

    @pytest.mark.parametrize(
        "said",
        [
            {},
            {"environ": {"VAULT_TOKEN": "", "VAULT_NAMESPACE": "billing"}},
            {"environ": {"VAULT_TOKEN": CANARY, "VAULT_ADDR": "http://127.0.0.1:8200"}},
            {"environ": {"VAULT_TOKEN": CANARY}, "text": 'chain = ["env"]'},
            {"environ": {"VAULT_TOKEN": CANARY}, "chain": ["env"]},
        ],
    )
    def test_nothing_is_left_out_of_a_chain_that_was_chosen(self, said):
        """A token of another program says nothing about a chain that names its stores."""
        assert configured(**said).left_out is None

    def test_production_leaves_dotenv_out(self):
        """No ./.env in production."""
        config = configured("production = true", environ={"VAULT_ADDR": "http://127.0.0.1:8200"})
        assert [link.store for link in config.chain] == ["vault", "env"]


class TestArguments:
    def test_address_and_token_go_to_every_vault_store_of_the_chain(self):
        """Whatever the stores are called, above what the file says, and in no repr."""
        file = (
            'chain = ["a", "b", "env"]\n[stores.a]\nplugin = "vault"\nurl = "https://a"\n[stores.b]\nplugin = "vault"'
        )
        config = configured(file, vault_url="https://c", vault_token=CANARY)
        for name in ("a", "b"):
            options = config.stores[name].options
            assert (options["url"].value, options["url"].rank) == ("https://c", Rank.ARGUMENT)
            assert (options["token"].value, options["token"].origin) == (CANARY, "the argument vault_token")
        assert "url" not in config.stores["env"].options
        assert CANARY not in repr(config)
        assert CANARY not in repr(Arguments(vault_token=CANARY))

    def test_they_are_refused_where_they_would_do_nothing(self):
        """An address that is silently ignored sends the reads elsewhere."""
        message = refusal('chain = ["env"]', vault_url="https://c", vault_token=CANARY)
        assert message == "vault_url and vault_token would do nothing: no store in the chain has the plugin vault"

    def test_without_fallback_the_environment_and_dotenv_are_left_out(self):
        """By plugin, not by name; the rest of the chain stays in its order."""
        file = (
            'chain = ["local", "vault", "dotenv", "mem"]\n[stores.local]\nplugin = "env"\n[stores.mem]\nplugin="memory"'
        )
        config = configured(file, enable_fallback=False)
        assert [link.store for link in config.chain] == ["vault", "mem"]

    def test_without_fallback_and_without_vault_nothing_is_left(self):
        """That is an error at once, and not a chain without links."""
        assert "leaves no store in the chain" in refusal(enable_fallback=False)

    def test_a_chain_argument_takes_the_place_of_the_file_s(self):
        """In the same form, and its mistakes are named alike."""
        config = configured(WHOLE_FILE, chain=["mounted", {"store": "env", "paths": ["a/*"]}])
        assert policies(config) == (LinkConfig("mounted"), LinkConfig("env", ("a/*",)))
        assert "the argument chain: [chain[0]] disk: must be true or false" in refusal(
            chain=[{"store": "e", "disk": 1}]
        )

    def test_a_chain_argument_has_the_options_of_its_stores(self):
        """They are laid over those of the file and of variables."""
        entry = {"store": "vault", "timeout": 2, "url": "http://a", "auth": {"method": "token", "token": CANARY}}
        config = configured('[stores.vault]\nurl = "http://b"\nmount = "kv"\n', chain=[entry])
        options = config.stores["vault"].options
        assert policies(config) == (LinkConfig("vault", timeout=2),)
        assert {name: option.value for name, option in options.items()} == {
            "url": "http://a", "mount": "kv", "auth": {"method": "token", "token": CANARY},
        }  # fmt: skip
        assert options["url"].origin == "the argument chain: [chain[0]] url"
        assert CANARY not in repr(config)

    def test_a_chain_argument_names_the_plugin_of_a_store(self):
        """The options of a store with another plugin in the file do not count."""
        entry = {"store": "app", "plugin": "files", "root": "/run/app"}
        config = configured('[stores.app]\nplugin = "vault"\nmount = "kv"\n', chain=[entry])
        assert (config.stores["app"].plugin, list(config.stores["app"].options)) == ("files", ["root"])

    def test_a_ttl_that_is_none_is_refused(self):
        """Negative, or not finite."""
        for ttl in (-1, float("inf"), float("nan"), True):
            assert "The argument cache_ttl must be a duration" in refusal(cache_ttl=ttl)


def test_a_store_that_is_not_configured_is_the_plugin_of_its_name():
    """It can still be the source or the target of a migration."""
    store = Config().store("files")
    assert (store.plugin, dict(store.options)) == ("files", {})


class TestDurations:
    @given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
    def test_a_number_with_a_unit_is_that_many_seconds(self, number, unit):
        """In lower and upper case."""
        assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])
        assert parse_duration(f"{number}{unit[0].upper()}") == pytest.approx(number * unit[1])

    @given(st.floats(0, 10**9, allow_nan=False))
    def test_a_number_is_seconds(self, number):
        """Of any type that TOML has for it."""
        assert parse_duration(number) == number
        assert parse_duration(int(number)) == int(number)

    @given(st.integers(0, 99), st.integers(0, 59))
    def test_parts_add_up(self, hours, minutes):
        """As a person writes them."""
        assert parse_duration(f"{hours}h{minutes}m") == hours * 3600 + minutes * 60

    @given(st.text(max_size=8) | st.none() | st.booleans() | st.floats() | st.integers())
    def test_anything_else_is_none_and_never_raises(self, value):
        """What is returned is finite and not negative."""
        duration = parse_duration(value)
        assert duration is None or 0 <= duration < float("inf")

    @pytest.mark.parametrize("value", ["", "m", "5 m", "1e3", "-5", "5x", "٥m", True, None, [], 10**400])
    def test_what_is_no_duration(self, value):
        """Units are not guessed."""
        assert parse_duration(value) is None


def test_no_variables_say_nothing():
    """The defaults of the two types agree."""
    assert read_variables({}) == Variables()
