"""The entry points of the group `strongroom.credential_variables` agree with the options of the plugins."""

import pytest

from strongroom import _plugins as plugins
from strongroom._plugins.distributions import entry_points
from strongroom._plugins.option_schema import ambient_credentials


@pytest.mark.vault
def test_strongroom_lists_each_variable_that_sets_a_secret_option():
    """No name is lost, and none is made up. After a change of pyproject.toml, install Strongroom again."""
    own = [
        plugin
        for group in (plugins.STORES, plugins.IMPORTERS, plugins.EXPORTERS, plugins.ROTATORS)
        for plugin in plugins.installed(group)
        if plugin.points[0].dist.name == "strongroom"
    ]
    assert [plugin.fault for plugin in own if plugin.fault] == []
    said = {name for plugin in own for name in ambient_credentials(plugin.schema)}
    listed = {point.name for point in entry_points(plugins.CREDENTIAL_VARIABLES) if point.dist.name == "strongroom"}
    assert listed == said
    assert "VAULT_HEADERS" in said
