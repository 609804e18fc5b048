"""A secrets backend of Airflow: connections, variables and configuration from a chain.

In `airflow.cfg`::

    [secrets]
    backend = strongroom.integrations.airflow.StrongroomBackend
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.integrations.airflow._backend import StrongroomBackend as StrongroomBackend


def __getattr__(name: str) -> object:
    """Return the backend, whose module needs Airflow's base class.

    Airflow imports the backend of its configuration while `import airflow` runs. So that import comes first here: the
    module would otherwise begin it, and Airflow would find the module without its class.
    """
    if name != "StrongroomBackend":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import airflow  # noqa: F401  # pyright: ignore[reportMissingImports]

    from strongroom.integrations.airflow._backend import StrongroomBackend

    return StrongroomBackend
