"""The boundary between Strongroom and a store: what a plugin does, returns and raises is checked here."""
