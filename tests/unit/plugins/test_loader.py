"""Plugins as they are installed: fake distributions on the search path, and what is wrong with each."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from strongroom import _plugins as plugins
from strongroom._config import discovery
from strongroom.errors import ConfigurationError, PluginError, StoreError, StrongroomError
from strongroom.store.memory import MemoryStore

CANARY = "canary-9d2e"


def prepare(store: str, **options: object):
    environ = {f"STRONGROOM_STORES_{store}_{name}".upper(): str(value) for name, value in options.items()}
    return plugins.prepare(discovery.load(chain=[store], environ=environ), store)


def refusal(store: str, **options: object) -> str:
    with pytest.raises(PluginError) as caught:
        prepare(store, **options)()
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None
    return str(caught.value)


CORP = """
    from strongroom import Secret
    from strongroom.formats.variables import EnvironmentMapping

    opened = []

    class CorpStore:
        def __init__(self, region, mapping):
            self.region = region
            self.mapping = mapping

        def read(self, path):
            return Secret(path=path, data={"region": self.region})

        def close(self):
            pass

    def open_corp(*, region: str, retries: int = 3, mapping: EnvironmentMapping) -> CorpStore:
        opened.append((region, retries))
        return CorpStore(region, mapping)
"""


def test_the_debug_log_has_no_lines_of_stevedore(caplog):
    """It has one for each installed plugin of the group, at each load: nothing about the store."""
    caplog.set_level("DEBUG")
    prepare("memory")
    assert not [record for record in caplog.records if record.name.startswith("stevedore")]


class TestPrepare:
    def test_a_stranger_s_plugin(self, search_path):
        """Checked at once, opened when it is called, each time anew; it is handed the mapping."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        opener = prepare("corp", region="eu", retries="5")
        opened = sys.modules["corp_store"].opened
        assert opened == []
        store = opener()
        assert opened == [("eu", 5)]
        assert store.read("a").data == {"region": "eu"}
        assert store.mapping.variable("database/connection", "url") == "DATABASE_URL"
        opener()
        assert len(opened) == 2

    @pytest.mark.parametrize(
        ("plugin", "options"), [("dotenv", {}), ("files", {"root": "r"}), ("json", {"file": "x.json"})]
    )
    def test_a_working_directory_that_is_gone_is_no_bug_of_the_plugin(self, tmp_path, monkeypatch, plugin, options):
        """A relative path leads nowhere then; a whole one leads where it did."""
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        openers = [prepare(plugin, **options), prepare(plugin, **dict.fromkeys(options or ["file"], tmp_path / "x"))]
        gone.rmdir()
        with pytest.raises(ConfigurationError, match=f"store {plugin}: the working directory is gone: "):
            openers[0]()
        openers[1]().close()

    def test_its_options_are_checked_before_anything_is_opened(self, search_path):
        """A wrong configuration stops the application when it starts, and not at its first read."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        with pytest.raises(ConfigurationError, match="the option region is missing"):
            prepare("corp")
        with pytest.raises(ConfigurationError, match="has no option reggion"):
            prepare("corp", reggion="eu")
        assert sys.modules["corp_store"].opened == []

    def test_an_opener_without_a_check_reads_the_options_when_it_is_called(self, tmp_path):
        """A store that is opened at once has its options resolved once."""
        file = tmp_path / "token"
        (Path.cwd() / "strongroom.toml").write_text(
            f'chain = ["memory"]\n[stores.memory.secrets.app]\ntoken = {{ file = "{file}" }}'
        )
        opener = plugins.ConfiguredPlugin(discovery.load(), "memory").open
        with pytest.raises(ConfigurationError, match="No such file"):
            opener()
        file.write_text("one\n")
        assert opener().read("app").data["token"] == "one"

    def test_a_token_in_a_file_is_read_again_at_each_opening(self, tmp_path):
        """It was rotated since: after a fork or a new login the new one counts."""
        file = tmp_path / "token"
        file.write_text("one\n")
        (Path.cwd() / "strongroom.toml").write_text(
            f'chain = ["memory"]\n[stores.memory.secrets.app]\ntoken = {{ file = "{file}" }}'
        )
        opener = plugins.prepare(discovery.load(), "memory")
        assert opener().read("app").data["token"] == "one"
        file.write_text("two\n")
        assert opener().read("app").data["token"] == "two"
        file.unlink()
        with pytest.raises(ConfigurationError, match="No such file"):
            opener()

    def test_a_store_without_configuration(self):
        """It is the plugin of its name."""
        assert isinstance(plugins.prepare(discovery.load(), "memory")(), MemoryStore)

    def test_the_settings_say_where_they_come_from(self, search_path):
        """In words, for a person who asks why."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        config = discovery.load(chain=["corp"], environ={"STRONGROOM_STORES_CORP_REGION": "eu"})
        region = plugins.store_settings(config, "corp")["region"]
        assert (region.value, region.origin) == ("eu", "the environment variable STRONGROOM_STORES_CORP_REGION")


class TestMissing:
    def test_a_plugin_that_is_not_installed(self):
        """What is installed is listed, and a near miss is named."""
        message = refusal("memroy")
        assert message.startswith(
            'the argument chain: [chain[0]] store memroy: there is no plugin memroy; did you mean "memory"?'
        )
        assert "vault" in message

    def test_a_plugin_of_the_file_is_named_with_its_table(self):
        """The file, the table, and what it asks for."""
        (Path.cwd() / "strongroom.toml").write_text('[stores.corp]\nplugin = "consul"')
        with pytest.raises(PluginError, match=r"\./strongroom\.toml: \[stores\.corp\]: there is no plugin consul"):
            plugins.prepare(discovery.load(), "corp")

    def test_a_plugin_that_an_extra_of_ours_brings(self, search_path, monkeypatch):
        """The extra is named, when the plugin's entry point is not there."""
        search_path.install("strongroom", {}, metadata="Provides-Extra: corp\n")
        assert 'install it with pip install "strongroom[corp]"' in refusal("corp")

    @pytest.mark.parametrize(
        ("metadata", "words"),
        [
            (
                "Provides-Extra: corp\nRequires-Dist: no-such-sdk>=1 ; extra == 'corp'\n",
                'The plugin corp needs no_such_sdk, which is not installed: pip install "corp-secrets[corp]"',
            ),
            (
                """\
                Provides-Extra: all
                Provides-Extra: sdk
                Requires-Dist: no-such-sdk; extra == 'all'
                Requires-Dist: other; extra == 'all'
                Requires-Dist: No_Such-SDK (>=1); extra == "sdk"
                """,
                'pip install "corp-secrets[sdk]"',
            ),
            (
                "Provides-Extra: space\nRequires-Dist: no-such-sdk-client; extra == 'space'\n",
                'pip install "corp-secrets[space]"',
            ),
            (
                "Requires-Dist: no-such-distribution>=1\n",
                'which is not installed: pip install "corp-secrets" installs its dependencies',
            ),
            (
                "Requires-Dist: click\n",
                "which is not installed. The metadata of corp-secrets 1.2 does not declare it: ask its author",
            ),
            ("", "The metadata of corp-secrets 1.2 does not declare it: ask its author"),
        ],
    )
    @pytest.mark.parametrize("when", ["loaded", "opened"])
    def test_a_dependency_that_is_not_installed(self, search_path, metadata, words, when):
        """One line, with the smallest extra that brings it; whether the plugin imports it early or late.

        A module's name is no name of a distribution: a stranger may have registered it.
        """
        source = {
            "loaded": "import no_such_sdk.client\ndef open_corp(): ...",
            "opened": "def open_corp():\n    import no_such_sdk.client",
        }[when]
        search_path.install(
            "corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source}, metadata=metadata
        )
        message = refusal("corp")
        assert words in message
        assert "pip install no_such_sdk" not in message

    def test_our_own_plugin_without_its_extra(self):
        """`vault` needs strongroom[vault]; the distribution's own metadata says so."""
        from strongroom._plugins.distributions import entry_point, missing

        point = entry_point(plugins.STORES, "vault")
        message = missing(point, ModuleNotFoundError("No module named 'hvac'", name="hvac"))
        assert message == 'The plugin vault needs hvac, which is not installed: pip install "strongroom[vault]"'

    @pytest.mark.parametrize("when", ["loaded", "opened"])
    @pytest.mark.parametrize(
        ("imported", "named"),
        [
            ("import strongroom.moved", "needs strongroom.moved ({line}), which strongroom {version} does not have"),
            ("from strongroom.store import Newer", "needs strongroom.store.Newer ({line}), which strongroom {version}"),
            ("import click.newer", "needs click.newer ({line}), which click 8."),
            ("from json import Newer", "needs json.Newer ({line}), which the installed json does not have"),
        ],
    )
    def test_name_that_an_installed_package_lacks(self, search_path, imported, named, when):
        """The message has the name, the author's line, and does not take the package for missing."""
        source = {"loaded": f"x = 1\n{imported}\ndef open_corp(): ...", "opened": f"def open_corp():\n    {imported}"}
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source[when]})
        message = refusal("corp")
        line = f"{search_path.file('corp_store')}:2"
        assert named.format(line=line, version=metadata.version("strongroom")) in message
        assert "not installed" not in message

    def test_part_of_a_namespace_package_that_is_missing_is_not_installed(self, search_path, monkeypatch):
        """Distributions share such a package, so it tells nothing about the one that is missing."""
        Path("shared_name").mkdir()
        search_path.install("corp-secrets", {"corp": "c:open_corp"}, modules={"c": "import shared_name.sdk"})
        monkeypatch.syspath_prepend(Path.cwd())
        assert "needs shared_name, which is not installed" in refusal("corp")


class TestFinders:
    def test_a_plugin_in_a_zip_file(self, search_path, tmp_path, monkeypatch):
        """An application may be one file: https://docs.python.org/3/library/zipapp.html."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
        monkeypatch.setattr(sys, "path", [packed if entry == str(tmp_path / "site") else entry for entry in sys.path])
        assert prepare("corp", region="eu")().read("a").data == {"region": "eu"}

    def test_a_plugin_of_another_finder(self, tmp_path, search_path, monkeypatch):
        """A packager may have another finder: https://docs.python.org/3/library/importlib.metadata.html."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        found = metadata.Distribution.at(tmp_path / "site" / "corp_secrets-1.2.dist-info")
        site, other = str(tmp_path / "site"), str(tmp_path / "other")  # the result is kept for each search path
        monkeypatch.setattr(sys, "path", [other if entry == site else entry for entry in sys.path])

        class Finder(metadata.DistributionFinder):
            def find_spec(self, *_):
                return None

            def find_distributions(self, context=None):
                return [found]

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
        assert plugins.offers(plugins.STORES, "corp")


class TestConflicts:
    def test_one_name_from_two_distributions_is_refused(self, search_path):
        """Both are named, and nothing of either has run."""
        ran = "raise SystemExit('it ran')"
        search_path.install("corp-secrets", {"corp": "corp_one:open_corp"}, modules={"corp_one": ran})
        search_path.install("other-secrets", {"corp": "corp_two:open_corp"}, modules={"corp_two": ran})
        message = refusal("corp")
        assert "corp-secrets 1.2 (corp_one:open_corp)" in message
        assert "other-secrets 1.2 (corp_two:open_corp)" in message
        assert "corp_one" not in sys.modules

    def test_a_stranger_cannot_take_one_of_our_names(self, search_path):
        """Neither silently, nor by standing first on the search path."""
        search_path.install("corp-secrets", {"memory": "corp_store:open_corp"}, modules={"corp_store": CORP})
        assert "registered by corp-secrets 1.2" in refusal("memory")

    def test_other_names_still_work(self, search_path):
        """A conflict concerns the one who configured it."""
        search_path.install("corp-secrets", {"env": "corp_store:open_corp"}, modules={"corp_store": CORP})
        assert isinstance(prepare("memory")(), MemoryStore)

    def test_one_distribution_twice_on_the_search_path_is_none(self, search_path):
        """An editable installation and its build can both be there: the first one counts."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        search_path.install("Corp.Secrets", {"corp": "corp_store:open_corp"}, below="again")
        assert prepare("corp", region="eu")().read("a").data == {"region": "eu"}


class TestBroken:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            (f"raise RuntimeError('{CANARY}')", "loading it raised RuntimeError"),
            ("import corp_store.nothing", "importing corp_store.nothing raised ModuleNotFoundError"),
            ("from json import nothing", "needs json.nothing"),
            (f"raise ImportError('{CANARY}')", "it raised ImportError"),
            (f"raise SystemExit('{CANARY}')", "loading it raised SystemExit"),
            ("assert False", "loading it raised AssertionError"),
            ("", "corp_store:open_corp does not exist"),
            ("open_corp = 5", "corp_store:open_corp is not callable"),
            ("def open_corp(url: str): ...", "its option url is not keyword-only"),
            ("def open_corp(): return object()", "it returned object, which is no store"),
            (f"def open_corp(): raise ImportError('{CANARY}')", "it raised ImportError"),
        ],
    )
    def test_a_plugin_that_is_broken(self, search_path, source, words):
        """One line that names the distribution's fault; a stranger's message is not repeated."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        message = refusal("corp")
        assert words in message
        assert CANARY not in message

    def test_method_that_the_plugin_lacks_is_named(self, search_path):
        """With the class and its line."""
        source = "class Corp:\n    def read(self, path): ...\n\ndef open_corp(): return Corp()"
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        title = f"corp_store.Corp ({search_path.file('corp_store')}:1)"
        assert refusal("corp").endswith(f"it returned {title}, which is no store: it has no close()")

    @pytest.mark.parametrize("traits", ["{'local': True}", "Traits(protocol=99)"])
    def test_class_with_wrong_traits_is_named_with_its_line(self, search_path, traits):
        source = f"""\
            from strongroom.store import Traits

            class Corp:
                traits = {traits}

            def open_corp() -> Corp: ...
        """
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        assert f"corp_store.Corp ({search_path.file('corp_store')}:3)" in refusal("corp")

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("x = 1\nx.nothing", "loading it raised AttributeError ({file}:2)"),
            ("import json\n\njson.loads('no')", "loading it raised JSONDecodeError ({file}:3)"),
            ("x = 1\ndef (", "loading it raised SyntaxError ({file}:2)"),
        ],
    )
    def test_line_of_the_author_is_named(self, search_path, source, words):
        """That of the plugin, and not of a library that it calls."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        assert words.format(file=search_path.file("corp_store")) in refusal("corp")

    @pytest.mark.parametrize("kind", ["SystemExit", "ValueError"])
    def test_check_that_raises_is_an_error_of_the_store(self, search_path, kind):
        """Validating the options ends neither the process nor in an exception of the plugin."""
        source = f"def open_corp(): ...\ndef check(): raise {kind}('{CANARY}')\nopen_corp.check = check"
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        with pytest.raises(StoreError, match=rf"store corp: it raised {kind}\)") as caught:
            plugins.check(discovery.load(chain=["corp"]), "corp")
        assert caught.value.__context__ is None
        assert CANARY not in str(caught.value)

    def test_check_of_an_opener_gets_its_options(self, search_path):
        """A decorator sets the attribute `check`, in a way that type checkers understand."""
        source = """
            from strongroom import ConfigurationError
            from strongroom.store import checked_by

            def check_corp(*, region):
                raise ConfigurationError(f"region: there is no {region}")

            @checked_by(check_corp)
            def open_corp(*, region: str): ...
        """
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        Path("strongroom.toml").write_text('chain = ["corp"]\n[stores.corp]\nregion = "x"')
        with pytest.raises(ConfigurationError, match=r"\[stores.corp\]: region: there is no x"):
            plugins.check(discovery.load(), "corp")

    def test_what_the_plugin_raises_is_left_to_whoever_opens_it(self, search_path):
        """An outage at opening is an outage."""
        source = "def open_corp(): raise ConnectionRefusedError"
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        with pytest.raises(ConnectionRefusedError):
            prepare("corp")()

    def test_an_option_that_the_plugin_refuses_is_named_with_its_store(self, search_path):
        """A plugin knows the option and not the file: with two stores of one plugin, whose option was it?"""
        source = """
            from strongroom import ConfigurationError

            def open_corp(*, region: str = "eu"):
                raise ConfigurationError("region: there is no such region")
        """
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        (Path.cwd() / "strongroom.toml").write_text('chain = ["far"]\n[stores.far]\nplugin = "corp"\nregion = "x"')
        with pytest.raises(ConfigurationError) as caught:
            plugins.prepare(discovery.load(), "far")()
        assert str(caught.value) == "./strongroom.toml: [stores.far]: region: there is no such region"
        assert caught.value.__context__ is None


class TestInstalled:
    def test_ours_are_listed_with_their_options(self):
        """Each has a distribution with a version."""
        memory = next(plugin for plugin in plugins.installed() if plugin.name == "memory")
        assert memory.distribution.startswith("strongroom ")
        assert list(memory.schema.options) == ["secrets"]
        assert memory.fault == ""

    def test_one_that_cannot_be_used_is_listed_with_its_fault(self, search_path):
        """The list is where a person looks for it."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": "import nope"})
        search_path.install("other-secrets", {"memory": "corp_two:open_corp"})
        listed = {plugin.name: plugin for plugin in plugins.installed()}
        assert "needs nope" in listed["corp"].fault
        assert "registered by" in listed["memory"].fault
        assert "other-secrets 1.2" in listed["memory"].distribution

    @pytest.mark.parametrize(
        "source",
        ["raise SystemExit(0)", "assert False", "raise GeneratorExit", "def open_corp(*, url: 'exit(0)'): ..."],
    )
    def test_one_broken_plugin_leaves_the_others_listed(self, search_path, source):
        """Neither an import nor a signature that raises ends the list, or the process."""
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": source})
        listed = {plugin.name: plugin for plugin in plugins.installed()}
        assert "The plugin corp" in listed["corp"].fault
        assert listed["memory"].fault == ""

    def test_a_plugin_is_found_although_the_list_of_stevedore_is_older(self, search_path, monkeypatch):
        """stevedore keeps its list for the process, and in the user's cache folder for later ones."""
        monkeypatch.setitem(ExtensionManager.ENTRY_POINT_CACHE, plugins.STORES, [])
        search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": CORP})
        assert prepare("corp", region="eu")().read("a").data == {"region": "eu"}

    def test_nothing_is_written_to_the_user_s_cache_folder(self, search_path, tmp_path):
        """stevedore would write its list there, and miss plugins that are installed later."""
        code = (
            "from strongroom import _plugins as plugins; from strongroom._config import discovery; "
            "plugins.prepare(discovery.load(), 'memory')()"
        )
        home = tmp_path / "home"
        environ = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        home.mkdir()
        subprocess.run([sys.executable, "-c", code], check=True, env=environ, cwd=home)
        assert list(home.iterdir()) == []


class TestCommands:
    def test_a_command_is_loaded_when_it_is_called(self, search_path):
        """The command line lists names without running a plugin."""
        search_path.install(
            "corp-secrets",
            {"corp": "corp_cli:main"},
            group="strongroom.commands",
            modules={"corp_cli": "def main(): return 'ran'"},
        )
        commands = plugins.commands()
        assert {"corp", "dev"} <= set(commands)
        assert "corp_cli" not in sys.modules
        main = commands["corp"]()
        assert callable(main)
        assert main() == "ran"

    def test_a_conflict_stops_that_command_alone(self, search_path):
        """The others are still listed."""
        for name in ("one", "two"):
            search_path.install(f"corp-{name}", {"corp": "x:y"}, group="strongroom.commands")
        with pytest.raises(PluginError, match="registered by corp-"):
            plugins.commands()["corp"]()


QUOTING = """
    from typing import Annotated
    from strongroom.errors import AuthenticationError, ConfigurationError
    from strongroom.store import Option
    from strongroom.store.memory import MemoryStore

    class ShortError(ConfigurationError):
        def __str__(self):
            return f"token: {self.args[0]} is short"

    def open_corp(*, token: Annotated[str, Option(secret=True)], fails: str) -> MemoryStore:
        raise {
            "class": ShortError(token),
            "configuration": ConfigurationError(f"token: {token} is short"),
            "login": AuthenticationError(reason=f"{token} is wrong"),
        }[fails]
"""


@pytest.mark.parametrize(
    ("fails", "said"),
    [("class", "**********"), ("configuration", "token: ********** is short"), ("login", "********** is wrong")],
)
def test_error_of_an_opener_quotes_no_secret_option(search_path, fails, said):
    """Whatever its class is. A fault in an option names the origin."""
    search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": QUOTING})
    opener = prepare("corp", token=CANARY, fails=fails)
    with pytest.raises(StrongroomError) as caught:
        opener()
    assert said in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.args}"
    assert fails != "configuration" or "variable STRONGROOM_STORES_CORP_TOKEN: token" in str(caught.value)


def test_debug_log_of_an_opener_names_the_store(search_path, caplog):
    """As an outage at opening does in `--verbose`."""
    caplog.set_level("DEBUG")
    search_path.install("corp-secrets", {"corp": "corp_store:open_corp"}, modules={"corp_store": QUOTING})
    with pytest.raises(StrongroomError):
        prepare("corp", token=CANARY, fails="login")()
    assert any(message.startswith("Store corp raised AuthenticationError at ") for message in caplog.messages)
