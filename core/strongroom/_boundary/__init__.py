"""The guard around a plugin: it checks answers, translates failures and enforces deadlines."""
