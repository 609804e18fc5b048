"""The boundary of a store: a plugin's results, errors and deadlines are checked here."""
