"""The opener of the store `google-secretmanager`."""

from __future__ import annotations

import re
from typing import Annotated

from strongroom.errors import ConfigurationError
from strongroom.paths import check_option, check_prefix
from strongroom.store import Option, checked_by
from strongroom.store.one_value import FoldOption
from strongroom_google.client import Client, url_of
from strongroom_google.store import GoogleSecretManagerStore

_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]*")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


def check_google(
    *, project: str, region: str | None = None, prefix: str = "", endpoint_url: str | None = None, **_: object
) -> None:
    """Check the options of `open_google` without the SDK.

    Raises:
        ConfigurationError: an option is wrong.
    """
    if not _PROJECT.fullmatch(project):
        raise ConfigurationError("project: it is neither the ID nor the number of a project")
    if region is not None and not _REGION.fullmatch(region):
        raise ConfigurationError("region: it is not the name of a region, such as europe-west3")
    check_option("prefix", prefix, check_prefix)
    try:
        url_of(region, endpoint_url)
    except ValueError:
        pass
    else:
        return
    raise ConfigurationError(
        "endpoint_url: it is neither https://HOST.googleapis.com nor, for an emulator, http://HOST:PORT"
    )


@checked_by(check_google)
def open_google(
    *,
    project: Annotated[
        str, Option("the ID or number of the project", ("GOOGLE_CLOUD_PROJECT",), location=True, locates=True)
    ],
    region: Annotated[
        str | None, Option("the region of regional secrets; by default secrets are global", locates=True)
    ] = None,
    prefix: Annotated[str, Option("the prefix of every path", locates=True)] = "",
    endpoint_url: Annotated[
        str | None,
        Option(
            "the address of the service if it is not the usual one; only hosts of Google get credentials", address=True
        ),
    ] = None,
    fold: Annotated[
        FoldOption,
        Option("how a secret of the single key `value` is written: as it was, as plain text or binary, or as JSON"),
    ] = "keep",
) -> GoogleSecretManagerStore:
    """Secrets in Google Secret Manager.

    Google's SDK finds the identity: Application Default Credentials.

    Raises:
        ConfigurationError: an option is wrong.
        ImportError: google-auth is not installed. Strongroom names the extra that brings it.
    """
    check_google(project=project, region=region, prefix=prefix, endpoint_url=endpoint_url)
    import google.auth  # noqa: F401  # fail now if it is not installed

    parent = f"projects/{project}" + (f"/locations/{region}" if region else "")
    return GoogleSecretManagerStore(
        Client(url_of(region, endpoint_url)), parent, check_option("prefix", prefix, check_prefix), fold
    )
