"""Sources for libraries that load an application's settings."""
