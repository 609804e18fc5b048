"""Commands about the secrets that an application requires."""
