"""The opener of the store `kubernetes-api`. It imports the client of Kubernetes when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from strongroom.errors import ConfigurationError
from strongroom.formats.kubernetes import is_namespace
from strongroom.store import Option, checked_by
from strongroom_kubernetes.objects import ConfigMapStore, SecretObjectStore


def check_kubernetes_api(*, namespace: str | None = None, **_: object) -> None:
    """Check the options without the client of Kubernetes.

    Raises:
        ConfigurationError: the text can name no namespace.
    """
    if namespace is not None and not is_namespace(namespace):
        raise ConfigurationError(f"namespace: {namespace!r} can be no namespace of Kubernetes")


@checked_by(check_kubernetes_api)
def open_kubernetes_api(
    *,
    namespace: Annotated[
        str | None,
        Option("the namespace; defaults to that of the context or of the pod", location=True, locates=True),
    ] = None,
    kind: Annotated[Literal["secret", "configmap"], Option("Secrets, or ConfigMaps, which are read only")] = "secret",
    kubeconfig: Annotated[
        Path | None,
        Option("the kubeconfig; defaults to KUBECONFIG, ~/.kube/config, or the pod's service account", locates=True),
    ] = None,
    context: Annotated[str | None, Option("the context of the kubeconfig", locates=True)] = None,
) -> SecretObjectStore | ConfigMapStore:
    """Secrets, or ConfigMaps, of one namespace of a Kubernetes cluster, live from its API.

    Raises:
        ConfigurationError: an option is wrong, or there is neither a kubeconfig nor a service account.
        ImportError: the client of Kubernetes is not installed. Strongroom names the extra that brings it.
    """
    check_kubernetes_api(namespace=namespace)
    import kubernetes

    _ = kubernetes  # fail now if it is not installed
    from strongroom_kubernetes.api_server import ApiServer

    server = ApiServer(kubeconfig, context)
    return (SecretObjectStore if kind == "secret" else ConfigMapStore)(server, namespace)
