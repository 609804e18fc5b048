"""Environment names: the table, what `[secrets]` adds, the pattern, the open rule, and their laws."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom.errors import ConfigurationError
from strongroom.formats.variables import TABLE, EnvironmentMapping

GUIDE = {
    "database/connection/url": "DATABASE_URL",
    "database/connection/host": "DB_HOST",
    "database/connection/port": "DB_PORT",
    "database/pool/size": "DB_POOL_SIZE",
    "auth/jwt/secret": "JWT_SECRET_KEY",
    "api-keys/anthropic/key": "ANTHROPIC_API_KEY",
    "api-keys/openai/key": "OPENAI_API_KEY",
}
NEIGHBOURS = {
    "database/connection/user": "DB_USER",
    "database/connection/password": "DB_PASSWORD",
    "database/connection/name": "DB_NAME",
    "database/pool/max_overflow": "DB_POOL_MAX_OVERFLOW",
    "database/pool/timeout": "DB_POOL_TIMEOUT",
    "auth/jwt/algorithm": "JWT_ALGORITHM",
    "auth/app/secret": "APP_SECRET_KEY",
    "api-keys/google/key": "GOOGLE_API_KEY",
    "cache/redis/host": "REDIS_HOST",
    "cache/redis/port": "REDIS_PORT",
    "cache/redis/password": "REDIS_PASSWORD",
}

variables = st.from_regex(r"[A-Z][A-Z0-9_]{0,12}", fullmatch=True)
names = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
paths = st.lists(names, min_size=1, max_size=3).map("/".join) | names.map("api-keys/{}".format)
keys = names | st.just("key")
rows = st.dictionaries(
    variables | names.map(lambda name: f"{name.upper()}_API_KEY"), st.tuples(paths, keys), max_size=6
)


def built(secrets, **options):
    """The mapping with these rows, where they do not contradict each other."""
    try:
        return EnvironmentMapping(secrets, **options)
    except ConfigurationError:
        assume(False)
        raise


class TestTable:
    @pytest.mark.parametrize(("place", "variable"), [*GUIDE.items(), *NEIGHBOURS.items()])
    def test_guide(self, place, variable):
        """The guide's table and its neighbours hold to the letter, both ways, with and without the open rule."""
        path, _, key = place.rpartition("/")
        for mapping in (EnvironmentMapping(), EnvironmentMapping(derive=False)):
            assert mapping.variable(path, key) == variable
            assert mapping.locate(variable) == (path, key)
            assert mapping.keys(path)[key] == variable

    def test_whole_reads_know_all_keys(self):
        """A path's keys are all the rows that have it."""
        assert dict(EnvironmentMapping().keys("database/connection")) == {
            "url": "DATABASE_URL",
            "host": "DB_HOST",
            "port": "DB_PORT",
            "user": "DB_USER",
            "password": "DB_PASSWORD",
            "name": "DB_NAME",
        }

    def test_own_rows_extend_it(self):
        """A row of `[secrets]` adds a key to a path of the table, and is found both ways."""
        mapping = EnvironmentMapping({"DB_SSL": ("database/connection", "sslmode")}, derive=False)
        assert mapping.variable("database/connection", "sslmode") == "DB_SSL"
        assert mapping.locate("DB_SSL") == ("database/connection", "sslmode")
        assert len(mapping.keys("database/connection")) == 7

    def test_repeating_a_row_is_no_conflict(self):
        """Saying what the table says already is allowed."""
        assert EnvironmentMapping({"DB_HOST": ("database/connection", "host")}).locate("DB_HOST")

    def test_keys_cannot_be_changed_from_outside(self):
        """What `keys` returns is a view that nobody can write to."""
        with pytest.raises(TypeError):
            EnvironmentMapping().keys("auth/app")["other"] = "X"

    def test_present_names_what_is_known(self):
        """`present` gives a place for each known name and passes the others over."""
        found = list(EnvironmentMapping().present(["PATH", "DB_HOST", "STRIPE_API_KEY", "VAULT_TOKEN"]))
        assert found == [("database/connection", "host", "DB_HOST"), ("api-keys/stripe", "key", "STRIPE_API_KEY")]


class TestConflicts:
    def test_row_takes_a_variable_away_from_its_built_in_place(self):
        """The place is read by no other variable of the table, and the other built-in rows stay."""
        mapping = EnvironmentMapping({"DATABASE_URL": ("shop", "url")}, derive=False)
        assert mapping.locate("DATABASE_URL") == ("shop", "url")
        assert mapping.variable("shop", "url") == "DATABASE_URL"
        assert mapping.variable("database/connection", "url") is None
        assert "url" not in mapping.keys("database/connection")
        assert mapping.variable("database/connection", "host") == "DB_HOST"

    def test_row_takes_a_place_away_from_its_built_in_variable(self):
        """The built-in variable is then none of the table's."""
        mapping = EnvironmentMapping({"PGHOST": ("database/connection", "host")})
        assert mapping.variable("database/connection", "host") == "PGHOST"
        assert mapping.keys("database/connection")["host"] == "PGHOST"
        assert mapping.locate("DB_HOST") is None

    @pytest.mark.parametrize(
        ("secrets", "words"),
        [
            ({"A": ("x", "y"), "B": ("x", "y")}, ("A", "B", "x#y", "keep one of the two")),
            ({"MY-NAME": ("x", "y")}, ("'MY-NAME'",)),
            ({"1ST": ("x", "y")}, ("'1ST'",)),
            ({"": ("x", "y")}, ("''",)),
            ({"A": ("x//y", "z")}, ("A", "x//y")),
            ({"A": ("x", "")}, ("A",)),
        ],
    )
    def test_refused_at_load_time(self, secrets, words):
        """Two variables for a place, no name and no path are refused by name."""
        with pytest.raises(ConfigurationError) as caught:
            EnvironmentMapping(secrets)
        assert all(word in str(caught.value) for word in ("[secrets]", *words))

    @pytest.mark.parametrize(
        "name",
        [
            "VAULT_ADDR",
            "VAULT_TOKEN",
            "BAO_TOKEN",
            "STRONGROOM_ENVIRONMENT",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_SECURITY_TOKEN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_BEARER_TOKEN_BEDROCK",
            "vault_token",
        ],
    )
    def test_reserved(self, name):
        """What opens a store is never a secret: not by a row, not by a rule, not in a listing."""
        mapping = EnvironmentMapping()
        assert mapping.is_reserved(name)
        assert mapping.locate(name) is None
        path, _, key = name.lower().replace("_", "/").rpartition("/")
        assert mapping.variable(path, key) is None
        with pytest.raises(ConfigurationError, match="reserved"):
            EnvironmentMapping({name: ("x", "y")})

    @pytest.mark.parametrize("name", ["AWS_REGION", "VAULT", "MY_VAULT_TOKEN", "DB_HOST"])
    def test_not_reserved(self, name):
        """A name that only looks like one of them is an application's own."""
        assert not EnvironmentMapping.is_reserved(name)


class TestPattern:
    @pytest.mark.parametrize(("service", "variable"), [("stripe", "STRIPE"), ("my-service", "MY_SERVICE")])
    def test_any_service(self, service, variable):
        """Each service has its variable, for exact and for whole reads, where derived names are off too."""
        mapping = EnvironmentMapping(derive=False)
        assert mapping.variable(f"api-keys/{service}", "key") == f"{variable}_API_KEY"
        assert dict(mapping.keys(f"api-keys/{service}")) == {"key": f"{variable}_API_KEY"}

    @pytest.mark.parametrize("path", ["api-keys", "api-keys/a/b", "api-keys/é", "api-keys/a b", "other/stripe"])
    def test_one_segment_only(self, path):
        """The pattern is one segment below api-keys, of characters that a variable can show."""
        assert EnvironmentMapping(derive=False).variable(path, "key") is None

    def test_reserved_service(self):
        """A service of a reserved name has no variable by the pattern."""
        assert EnvironmentMapping(derive=False).variable("api-keys/vault", "key") is None
        assert EnvironmentMapping().locate("VAULT_API_KEY") is None

    def test_own_row_takes_the_place(self):
        """Where `[secrets]` gives a service another variable, the pattern's variable stands for nothing."""
        mapping = EnvironmentMapping({"STRIPE_KEY": ("api-keys/stripe", "key")})
        assert mapping.variable("api-keys/stripe", "key") == "STRIPE_KEY"
        assert mapping.locate("STRIPE_API_KEY") is None

    def test_own_row_takes_the_variable(self):
        """Where `[secrets]` gives the pattern's variable to another place, the service does not read it."""
        mapping = EnvironmentMapping({"MY_SERVICE_API_KEY": ("api-keys/my-service", "key")}, derive=False)
        assert mapping.locate("MY_SERVICE_API_KEY") == ("api-keys/my-service", "key")
        assert mapping.variable("api-keys/my_service", "key") is None
        assert not mapping.keys("api-keys/my_service")


class TestOpenRule:
    @pytest.mark.parametrize(
        ("path", "key", "variable"),
        [
            ("payments/stripe", "webhook_secret", "PAYMENTS_STRIPE_WEBHOOK_SECRET"),
            ("database/connection", "sslmode", "DATABASE_CONNECTION_SSLMODE"),
            ("my-app.v2", "a-b", "MY_APP_V2_A_B"),
        ],
    )
    def test_upper_cased_and_joined(self, path, key, variable):
        """Path and key are upper-cased and joined with `_`, for one key only: neither listed nor read whole."""
        mapping = EnvironmentMapping()
        assert mapping.variable(path, key) == variable
        assert mapping.locate(variable) is None
        assert key not in mapping.keys(path)

    def test_off(self):
        """Without derived names there is the table only."""
        assert EnvironmentMapping(derive=False).variable("payments/stripe", "webhook_secret") is None

    @pytest.mark.parametrize(
        ("path", "key"),
        [
            ("database", "url"),
            ("db", "host"),
            ("openai/api", "key"),
            ("stripe/api", "key"),
            ("vault", "token"),
            ("é", "x"),
        ],
    )
    def test_never_another_place_nor_a_reserved_name(self, path, key):
        """`database#url` would be DATABASE_URL, which stands for another secret: it has no variable."""
        assert EnvironmentMapping().variable(path, key) is None


def test_built_in_rows_pass_the_checks_of_rows_of_the_application():
    """No mapping checks them again."""
    assert EnvironmentMapping(TABLE).rows() == TABLE == EnvironmentMapping().rows()


class TestLaws:
    @given(rows)
    def test_table_is_a_bijection(self, secrets):
        """`variable` undoes `locate`, and no two variables of the table stand for one place."""
        mapping = built(secrets)
        known = {*TABLE, *secrets}
        places = {variable: mapping.locate(variable) for variable in known}
        assert all(place is not None and mapping.variable(*place) == variable for variable, place in places.items())
        assert len(set(places.values())) == len(known)

    @given(rows, variables | names.map(lambda name: f"{name.upper()}_API_KEY"))
    def test_locate_is_undone_by_variable(self, secrets, variable):
        """Whatever `locate` knows, a whole read and an exact read of that place look for the same variable."""
        mapping = built(secrets)
        if (place := mapping.locate(variable)) is not None:
            assert mapping.variable(*place) == variable
            assert mapping.keys(place[0])[place[1]] == variable

    @given(rows, paths, keys)
    def test_whole_and_exact_reads_agree(self, secrets, path, key):
        """Each key of a whole read is looked for in the variable that an exact read uses."""
        mapping = built(secrets)
        assert all(mapping.variable(path, name) == variable for name, variable in mapping.keys(path).items())
        variable = mapping.variable(path, key)
        assert variable is None or not mapping.is_reserved(variable)

    @given(rows, paths, keys)
    def test_no_derived_name_belongs_to_a_row(self, secrets, path, key):
        """A rule never reads the variable of a row for another place."""
        mapping = built(secrets)
        variable = mapping.variable(path, key)
        if variable in {*TABLE, *secrets}:
            assert mapping.locate(variable) == (path, key)

    @given(rows, paths, keys)
    def test_open_rule_only_adds(self, secrets, path, key):
        """Turning derived names off changes no name of the table."""
        closed = built(secrets, derive=False).variable(path, key)
        assert closed is None or built(secrets).variable(path, key) == closed
