"""The mapping file: what it says of a variable, what is wrong with it, and how it is brought up to date."""

import json
import re
import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import ConfigurationError, MissingFileError
from strongroom.formats.variables import TABLE, EnvironmentMapping
from strongroom.migrate._plans.mapping_file import (
    MappingEntry,
    MappingFile,
    as_json,
    as_toml,
    current,
    parse_json,
    parse_toml,
    read_mapping,
    update_mapping,
    write_mapping,
)

MAPPING = EnvironmentMapping({"SENTRY_DSN": ("monitoring/sentry", "dsn")})


def json_of(variables, **more):
    return json.dumps({"version": 1, "variables": variables, **more})


def test_json_and_toml_say_the_same():
    """Short and long, with notes."""
    from_json = parse_json(
        json_of({"A": "p#k", "B": {"to": "q", "split": "json", "note": "both"}, "*_C": "c/{1}#k", "D": ""}), "m.json"
    )
    from_toml = parse_toml(
        'version = 1\n[variables]\nA = "p#k"\nB = { to = "q", split = "json", note = "both" }\n'
        '"*_C" = "c/{1}#k"\nD = ""\n',
        "m.json",
    )
    assert from_json == from_toml
    assert from_json.entries == (
        MappingEntry("A", "p#k"),
        MappingEntry("B", "q", "json", "both"),
        MappingEntry("*_C", "c/{1}#k"),
        MappingEntry("D"),
    )


def test_a_name_comes_before_a_pattern_and_the_first_pattern_before_the_next():
    """Whatever their order is otherwise."""
    mapping = parse_json(json_of({"*_KEY": "a/{1}#k", "*_API_KEY": "b/{1}#k", "X_API_KEY": "c#k"}), "m.json")
    assert mapping.entry("X_API_KEY").to == "c#k"
    assert mapping.entry("Y_API_KEY").match("Y_API_KEY") == ("a/y_api", "k")
    assert mapping.entry("KEY") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "m.json: line 1, column 2: it is not JSON"),
        ("[]", "m.json: it is not a mapping"),
        ('{"variables": {}}', "m.json: version: it is missing or invalid, write `version` 1"),
        ('{"version": true}', "m.json: version: it is missing or invalid"),
        (
            '{"version": 2}',
            "m.json: it needs a later Strongroom: its format is version 2, and this release reads up to 1",
        ),
        ('{"version": 1, "vars": {}}', "m.json: unknown field vars"),
        ('{"version": 1, "variables": []}', "m.json: variables: it is not a table"),
        ('{"version": 1, "variables": {"A": "p#k", "A": "p#l"}}', "m.json: the name 'A' appears twice"),
        (json_of({"A B": "p#k"}), "m.json: 'A B': not the name of a variable"),
        (json_of({"VAULT_TOKEN": "p#k"}), "m.json: VAULT_TOKEN: it is reserved for store credentials"),
        (json_of({"VAULT_*": "p/{1}#k"}), "m.json: VAULT_*: it is reserved"),
        (json_of({"A": 5}), "m.json: A: it is neither PATH#KEY nor a table"),
        (
            json_of({"A": {"to": "p#k", "rename": "x"}}),
            "m.json: A: unknown field rename, use one of to, split, note",
        ),
        (json_of({"A": {"to": 5}}), "m.json: A: to: it is not text"),
        (json_of({"A": {"to": "p", "split": "xml"}}), "m.json: A: split: 'xml' is unknown, use json"),
        (json_of({"A": {"to": "p#k", "split": "json"}}), "m.json: A: to: a split value takes no #KEY"),
        (json_of({"A": "p"}), "m.json: A: to: the #KEY is missing"),
        (json_of({"A": "p//q#k"}), "m.json: A: to: it has a leading, trailing or double slash"),
        (json_of({"A": "p#"}), "m.json: A: to: the key is empty"),
        (json_of({"A": "p/{1}#k"}), "m.json: A: to: {1} has no matching *"),
        (json_of({"*_A": "p/{2}#k"}), "m.json: *_A: to: {2} has no matching *"),
        (json_of({"*_A": "p#k"}), "m.json: *_A: to: all variables of the pattern would get one path and key: use {1}"),
    ],
)
def test_a_mistake_is_named_by_file_entry_and_field(text, says):
    with pytest.raises(ConfigurationError) as caught:
        parse_json(text, "m.json")
    assert says in str(caught.value)
    assert caught.value.__context__ is None


def test_a_mistake_in_toml_is_named_by_its_line():
    with pytest.raises(ConfigurationError, match=r"m\.toml, line 2, column 3: it is not TOML"):
        parse_toml("version = 1\nA B", "m.toml")


# --- export -----------------------------------------------------------------------------------------------------------


def test_the_current_mapping_has_every_row_and_what_nobody_knows():
    """What no rule names is there to be filled in; what opens a store is not there."""
    mapping = current(MAPPING, ["ACME_API_KEY", "VAULT_TOKEN", "NEW", "DB_HOST", "odd name", "ALSO"])
    entries = {entry.variable: entry.to for entry in mapping.entries}
    assert entries["DB_HOST"] == "database/connection#host"
    assert entries["SENTRY_DSN"] == "monitoring/sentry#dsn"
    assert entries["ACME_API_KEY"] == "api-keys/acme#key"
    assert [name for name, to in entries.items() if not to] == ["ALSO", "NEW"]
    assert entries.keys() == {*TABLE, "SENTRY_DSN", "ACME_API_KEY", "ALSO", "NEW"}


@pytest.mark.parametrize("name", ["env_mapping.json", "env_mapping.toml"])
def test_what_is_exported_is_read_and_decides_alike(tmp_path, name):
    """By the file, a variable goes where it went without."""
    file = tmp_path / name
    write_mapping(file, current(MAPPING, ["ACME_API_KEY", "NEW"]))
    mapping = read_mapping(file)
    for variable in (*TABLE, "SENTRY_DSN", "ACME_API_KEY"):
        assert mapping.entry(variable).match(variable) == MAPPING.locate(variable)
    assert mapping.entry("NEW").match("NEW") is None


@pytest.mark.parametrize("name", ["env_mapping.json", "env_mapping.toml"])
def test_a_file_that_is_there_is_not_overwritten(tmp_path, name):
    """Nor written through, when it is a link to nowhere."""
    file = tmp_path / name
    file.write_text("mine")
    with pytest.raises(ConfigurationError, match="it exists already: --update adds to it"):
        write_mapping(file, current(MAPPING, []))
    assert file.read_text() == "mine"
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="it exists already"):
        write_mapping(file, current(MAPPING, []))


def test_an_update_keeps_edits_and_notes(tmp_path):
    """In JSON: what was changed, noted, and taken over by a pattern stays; what is new comes after it."""
    file = tmp_path / "env_mapping.json"
    file.write_text(
        json_of({"NEW": {"to": "app/new#k", "note": "mine"}, "DB_*": "app/db#{1}", "*_API_KEY": "k/{1}#k", "GONE": ""})
    )
    assert update_mapping(file, current(MAPPING, ["NEW", "ACME_API_KEY", "LATER"])) > 0
    after = json.loads(file.read_text())["variables"]
    assert list(after)[:4] == ["NEW", "DB_*", "*_API_KEY", "GONE"]
    assert after["NEW"] == {"to": "app/new#k", "note": "mine"}
    assert after["LATER"] == {"to": ""}
    assert not {"DB_HOST", "ACME_API_KEY"} & after.keys()
    assert after["SENTRY_DSN"] == {"to": "monitoring/sentry#dsn"}
    before = file.read_bytes()
    assert update_mapping(file, current(MAPPING, ["NEW", "LATER"])) == 0
    assert file.read_bytes() == before


def test_an_update_of_toml_keeps_comments_too(tmp_path):
    """New entries stand below what was there."""
    file = tmp_path / "env_mapping.toml"
    text = 'version = 1\n\n[variables]\n# ask Ada\nNEW = "app/new#k"\n"DB_*" = { to = "app/db#{1}" }'
    file.write_text(text)
    added = update_mapping(file, current(MAPPING, ["LATER"]))
    assert file.read_text().startswith(text + "\n")
    after = tomllib.loads(file.read_text())["variables"]
    assert after["LATER"] == {"to": ""}
    assert len(after) == 2 + added


def test_an_update_of_what_is_wrong_or_not_there_changes_nothing(tmp_path):
    """A file that cannot be read is never overwritten."""
    file = tmp_path / "env_mapping.json"
    with pytest.raises(MissingFileError):
        update_mapping(file, current(MAPPING, []))
    file.write_text('{"version": 9}')
    with pytest.raises(ConfigurationError, match="later Strongroom"):
        update_mapping(file, current(MAPPING, []))
    assert file.read_text() == '{"version": 9}'


names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: not MAPPING.is_reserved(name))
notes = st.text(max_size=20)
entries = st.lists(
    st.builds(MappingEntry, names, st.sampled_from(["", "a/b#c", "x#y.z", "ключ/é#🔑", "q\"u#o't"])).flatmap(
        lambda entry: notes.map(lambda note: MappingEntry(entry.variable, entry.to, "", note))
    )
    | st.builds(MappingEntry, names, st.just("a/b"), st.just("json"), notes)
    | names.map(lambda name: MappingEntry(f"*_{name}_*", "a/{2}#{1}")),
    unique_by=lambda entry: entry.variable,
    max_size=5,
)


@given(entries=entries)
def test_what_is_written_is_read(entries):
    """In both formats, whatever a note says."""
    mapping = MappingFile(tuple(entries), "m")
    assert parse_json(as_json(mapping), "m") == mapping
    assert parse_toml(as_toml(mapping), "m") == mapping


@given(
    pattern=st.text("AB_*", min_size=1, max_size=8).filter(lambda text: "*" in text), name=st.text("AB_", max_size=10)
)
def test_each_star_takes_as_much_as_it_can_from_the_left(pattern, name):
    """As a regular expression with greedy groups would."""
    found = re.fullmatch("(.*)".join(map(re.escape, pattern.split("*"))), name)
    entry = MappingEntry(pattern)
    assert entry.captures(name) == (list(found.groups()) if found else None)


def test_a_pattern_of_many_stars_is_matched_at_once():
    """A regular expression tried every combination."""
    started = time.process_time()
    assert MappingEntry("*A" * 12 + "*B").captures("A" * 60) is None
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "text",
    [
        "version = " + "9" * 5000,
        "a" + ".a" * 16_000 + " = 1",
        "version = 1\n[variables]\n'A*' = 'a#{" + "9" * 5000 + "}'",
    ],
)
def test_a_hostile_toml_is_refused_at_once(text):
    started = time.process_time()
    with pytest.raises(ConfigurationError):
        parse_toml(text, "map.toml")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_names_with_dots_and_hyphens_are_mapped(tmp_path, suffix):
    """A plan reports them as unmapped, so an exported mapping has them, and takes an entry for them."""
    names = ["spring.datasource.password", "my-app.key", "line 3"]
    file = tmp_path / f"mapping.{suffix}"
    write_mapping(file, current(EnvironmentMapping(), names))
    read = read_mapping(file)
    assert {entry.variable for entry in read.entries} >= set(names[:2])
    assert "line 3" not in {entry.variable for entry in read.entries}
    assert update_mapping(file, MappingFile((MappingEntry("other.name", "other#name"),))) == 1
    assert read_mapping(file).entry("other.name").match("other.name") == ("other", "name")


def test_a_pattern_matches_names_with_dots():
    mapping = parse_json('{"version": 1, "variables": {"spring.*.password": "spring/{1}#password"}}', "m.json")
    entry = mapping.entry("spring.datasource.password")
    assert entry.match("spring.datasource.password") == ("spring/datasource", "password")
