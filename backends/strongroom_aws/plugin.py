"""The openers of the stores `aws-secretsmanager` and `aws-ssm`."""

from __future__ import annotations

import os
from typing import Annotated, Literal, TypeAlias

from strongroom.errors import ConfigurationError
from strongroom.paths import check_option, check_prefix
from strongroom.secret import Value
from strongroom.store import Option, checked_by
from strongroom.store.one_value import FoldOption
from strongroom.store.option import named_contents
from strongroom_aws.limits import Tags
from strongroom_aws.parameter_store.key_layout import ParameterKeys
from strongroom_aws.parameter_store.secret_layout import ParameterSecrets
from strongroom_aws.secrets_manager.store import SecretsManagerStore, VersionedSecretsManagerStore, WriteOptions
from strongroom_aws.service import Service

_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_OLDER_FILES = ("~/.boto", "/etc/boto.cfg")
_OLDER_VARIABLES = ("AWS_CREDENTIAL_FILE", "BOTO_CONFIG")


def credential_contents() -> dict[str, Value] | None:
    """Return the AWS_* variables and the files in which botocore finds profiles and credentials.

    They decide about account and role, unless a program gives the credentials: the result is None then. The role
    of a machine or task is not among them, and is bound to the machine as the disk cache is.
    """
    files = [os.environ.get(variable) or usual for variable, usual in _FILES]
    files += [*_OLDER_FILES, *filter(None, map(os.environ.get, _OLDER_VARIABLES))]
    found: dict[str, Value] = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    found |= named_contents(files)
    if any(isinstance(content, bytes) and b"credential_process" in content for content in found.values()):
        return None
    return found


Region: TypeAlias = Annotated[
    str | None, Option("the region; defaults to that of the profile", ("AWS_DEFAULT_REGION",), locates=True)
]
Profile: TypeAlias = Annotated[
    str | None,
    Option(
        "the profile of ~/.aws/config; defaults to AWS_PROFILE",
        locates=True,
        sent_to="endpoint_url",
        identity=lambda _: credential_contents(),
    ),
]
EndpointUrl: TypeAlias = Annotated[
    str | None, Option("the address of the service if it is not AWS's own; defaults to AWS_ENDPOINT_URL", address=True)
]
Prefix: TypeAlias = Annotated[str, Option("the prefix of every path", location=True)]
TagPrefix: TypeAlias = Annotated[str, Option("only tags with this prefix are labels")]
Fold: TypeAlias = Annotated[
    FoldOption,
    Option("how a secret of the single key `value` is written: as it was, as plain text or binary, or as JSON"),
]

_SHORTEST_WINDOW, _LONGEST_WINDOW = 7, 30


def check_secrets_manager(*, prefix: str = "", recovery_days: int = _LONGEST_WINDOW, **_: object) -> None:
    """Check the options of `open_secrets_manager` without boto3.

    Raises:
        ConfigurationError: an option is wrong.
    """
    check_option("prefix", prefix, check_prefix)
    if not _SHORTEST_WINDOW <= recovery_days <= _LONGEST_WINDOW:
        raise ConfigurationError(f"recovery_days: {recovery_days} is not from {_SHORTEST_WINDOW} to {_LONGEST_WINDOW}")


@checked_by(check_secrets_manager)
def open_secrets_manager(
    *,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    prefix: Prefix = "",
    kms_key: Annotated[
        str | None, Option("the KMS key of new secrets: its id, ARN or alias/NAME", recipients=True)
    ] = None,
    tag_prefix: TagPrefix = "",
    fold: Fold = "keep",
    recovery_days: Annotated[int, Option("days in which a deleted secret can be restored, 7 to 30")] = 30,
    force_delete: Annotated[bool, Option("delete secrets at once, with all versions")] = False,
    restore: Annotated[bool, Option("a write to a deleted secret restores it first, with its old versions")] = False,
) -> SecretsManagerStore | VersionedSecretsManagerStore:
    """Secrets in AWS Secrets Manager.

    boto3 finds the identity: variables, a profile, SSO, a web identity, the role of a pod, a task or an instance.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    check_secrets_manager(prefix=prefix, recovery_days=recovery_days)
    options = WriteOptions(
        fold=fold, kms_key=kms_key, recovery_days=recovery_days, force_delete=force_delete, restore=restore
    )
    below = check_option("prefix", prefix, check_prefix)
    service = open_service("secretsmanager", region, profile, endpoint_url)
    if force_delete:  # deletes are final, so it offers no versions and the command line asks first
        return SecretsManagerStore(service, below, options)
    return VersionedSecretsManagerStore(service, below, options, Tags(tag_prefix))


def check_parameter_store(
    *, prefix: str = "", layout: str = "keys", tag_prefix: str = "", fold: str = "keep", **_: object
) -> None:
    """Check the options of `open_parameter_store` without boto3."""
    check_option("prefix", prefix.removeprefix("/"), check_prefix)
    if layout == "keys" and (tag_prefix or fold != "keep"):
        raise ConfigurationError("layout: 'keys' takes neither `tag_prefix` nor `fold`, which belong to 'secrets'")


@checked_by(check_parameter_store)
def open_parameter_store(
    *,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    prefix: Prefix = "",
    layout: Annotated[
        Literal["keys", "secrets"],
        Option("`keys`: a parameter for each key, PREFIX/PATH/KEY; `secrets`: a parameter for each secret, in JSON"),
    ] = "keys",
    kms_key: Annotated[
        str | None,
        Option(
            "the KMS key of written parameters; defaults to that of the parameter, or alias/aws/ssm", recipients=True
        ),
    ] = None,
    tag_prefix: TagPrefix = "",
    fold: Fold = "keep",
) -> ParameterKeys | ParameterSecrets:
    """Secrets in the Parameter Store of AWS Systems Manager, always written as a SecureString.

    boto3 finds the identity. `tag_prefix` and `fold` are for the layout `secrets`.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    check_parameter_store(prefix=prefix, layout=layout, tag_prefix=tag_prefix, fold=fold)
    below = check_option("prefix", prefix.removeprefix("/"), check_prefix)
    service = open_service("ssm", region, profile, endpoint_url)
    if layout == "keys":
        return ParameterKeys(service, below, kms_key)
    return ParameterSecrets(service, below, kms_key, Tags(tag_prefix), fold)


def open_service(name: str, region: str | None, profile: str | None, endpoint_url: str | None) -> Service:
    """Return a service with a client, for an opener."""
    import boto3  # type: ignore[import-untyped]  # noqa: F401  # fail now if it is not installed

    service = Service(name, region, profile, endpoint_url)
    service.open()
    return service
