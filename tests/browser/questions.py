"""Questions as people type them into the search, and the pages that answer them."""

from __future__ import annotations

QUESTIONS: dict[str, tuple[str, ...]] = {
    # Read
    "read an int from a secret": ("how-to/secrets/typed-secrets",),
    "dataclass": ("how-to/secrets/typed-secrets",),
    "fallback to environment variables": ("explanation/chain",),
    "why do I get the old value": ("explanation/why-this-value",),
    "cache ttl": ("explanation/cache",),
    "async get_secret": ("reference/api/strongroom",),
    "use secrets offline": ("explanation/outages", "explanation/cache"),
    "what happens when vault is down": ("explanation/outages",),
    "undo a secret change": ("how-to/secrets/versions",),
    # Errors
    "certificate verify failed": ("how-to/troubleshooting",),
    "self-signed certificate": ("how-to/troubleshooting",),
    "vault is sealed": ("how-to/troubleshooting", "how-to/production/auto-unseal"),
    "timeout": ("how-to/troubleshooting",),
    "permission denied 403": ("how-to/troubleshooting",),
    "token expired": ("how-to/authentication/tokens", "how-to/production/token-hygiene", "how-to/troubleshooting"),
    # Tests and scans
    "mock secrets in pytest": ("how-to/secrets/testing",),
    "fake vault for unit tests": ("how-to/secrets/testing",),
    "pre-commit hook leaked secrets": ("how-to/secrets/redaction",),
    "gitleaks": ("how-to/secrets/redaction",),
    "hide secrets in logs": ("how-to/secrets/redaction",),
    # Rotate
    "how to rotate a database password": ("how-to/secrets/rotation",),
    "rotate secrets every night": ("how-to/secrets/rotation",),
    "sqlalchemy password rotation": ("how-to/integrations/connections",),
    "dynamic database credentials": ("how-to/secrets/dynamic-secrets",),
    # Move
    "migrate .env to vault": ("how-to/moving/migrate",),
    "replace hvac": ("how-to/moving/from-hvac",),
    "move from vault to openbao": ("how-to/moving/from-vault-to-openbao",),
    # Frameworks
    "django SECRET_KEY": ("how-to/integrations/django",),
    "fastapi database password": ("how-to/integrations/fastapi",),
    "flask config from vault": ("how-to/integrations/flask",),
    "pydantic settings vault": ("how-to/integrations/pydantic-settings", "how-to/moving/from-pydantic-settings"),
    "celery broker password": ("how-to/integrations/celery",),
    "airflow secrets backend": ("how-to/integrations/airflow", "how-to/moving/from-airflow"),
    # Platforms and stores
    "kubernetes pod secrets without token": ("how-to/platforms/kubernetes",),
    "github actions oidc vault": ("how-to/platforms/github-actions",),
    "gunicorn workers fork": ("how-to/platforms/application-servers",),
    "systemd credentials": ("how-to/platforms/systemd",),
    "aws secrets manager": ("reference/stores/aws",),
    "azure key vault": ("how-to/stores/azure",),
    "google secret manager": ("how-to/stores/google",),
    "multi tenant": ("how-to/production/namespaces", "how-to/programs"),
    "gitlab ci secrets": ("how-to/programs", "how-to/authentication/jwt"),
    "several tenants": ("how-to/programs", "how-to/production/namespaces"),
    # Programs
    "claude code apiKeyHelper": ("how-to/programs", "how-to/integrations/credential-helpers"),
    "codex": ("how-to/programs",),
    "hermes": ("how-to/programs",),
    "openclaw exec provider": ("how-to/programs", "how-to/integrations/credential-helpers"),
    "uv private index password": ("how-to/programs", "how-to/integrations/credential-helpers"),
    "direnv": ("how-to/programs",),
    "CREDENTIALS_DIRECTORY": ("how-to/platforms/systemd", "how-to/programs"),
    "postgresql for an agent": ("how-to/programs",),
    # Agents and plugins
    "claude code api key": ("how-to/agents/coding-agents",),
    "openai key for an agent": ("how-to/agents/coding-agents",),
    "mcp server secrets": ("how-to/agents/mcp",),
    "plugin for my own store": ("how-to/plugins/write-a-store",),
}
