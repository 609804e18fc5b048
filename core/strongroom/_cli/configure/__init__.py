"""Commands of the group Configure: config, trust, types, import-config and completion."""
