"""Commands of the group Plugins: stores, plugins and new-plugin, with the templates of new packages."""
