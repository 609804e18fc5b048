"""Opens the stores `aws-secretsmanager` and `aws-ssm`: options as Strongroom gives them, checked."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from strongroom.errors import ConfigurationError, InvalidPathError
from strongroom.paths import check_prefix
from strongroom.store import Option
from strongroom_aws.parameter_store.key_layout import ParameterKeys
from strongroom_aws.parameter_store.secret_layout import ParameterSecrets
from strongroom_aws.secrets_manager.store import Habits, SecretsManagerStore
from strongroom_aws.secrets_manager.versioned_store import VersionedSecretsManagerStore
from strongroom_aws.service import Access, Service
from strongroom_aws.tags import Tags

Region: TypeAlias = Annotated[
    str | None, Option("the region; else that of the profile", ("AWS_DEFAULT_REGION",), place=True)
]
Profile: TypeAlias = Annotated[str | None, Option("the profile of ~/.aws/config; else AWS_PROFILE", place=True)]
EndpointUrl: TypeAlias = Annotated[
    str | None, Option("the service's address, where it is not AWS's own; else AWS_ENDPOINT_URL", address=True)
]
Prefix: TypeAlias = Annotated[str, Option("what every path is below", location=True)]
TagPrefix: TypeAlias = Annotated[str, Option("only tags whose name begins with this are labels")]
Fold: TypeAlias = Annotated[
    Literal["keep", "plain", "json"],
    Option("how a secret of the single key `value` is written: as it was, as plain text or binary, or as JSON"),
]

_SHORTEST_WINDOW, _LONGEST_WINDOW = 7, 30


def open_secrets_manager(
    *,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
    prefix: Prefix = "",
    kms_key: Annotated[str | None, Option("the KMS key of new secrets: its id, ARN or alias/NAME")] = None,
    tag_prefix: TagPrefix = "",
    fold: Fold = "keep",
    recovery_days: Annotated[int, Option("for how many days a deleted secret can be restored, 7 to 30")] = 30,
    force_delete: Annotated[bool, Option("a deleted secret is gone at once, with all its versions")] = False,
    restore: Annotated[bool, Option("a write to a deleted secret restores it first, its old versions too")] = False,
) -> SecretsManagerStore | VersionedSecretsManagerStore:
    """Secrets in AWS Secrets Manager.

    Who we are is what boto3 finds: variables, a profile, SSO, a web identity, the role of a pod, a task or an instance.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    check_secrets_manager(recovery_days=recovery_days)
    habits = Habits(fold=fold, kms_key=kms_key, recovery_days=recovery_days, force_delete=force_delete, restore=restore)
    service = _service("secretsmanager", region, profile, endpoint_url)
    if force_delete:  # what is deleted is gone for good: whoever does it is asked first, as where there are no versions
        return SecretsManagerStore(service, _prefix(prefix), habits)
    return VersionedSecretsManagerStore(service, _prefix(prefix), habits, Tags(tag_prefix))


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
        str | None, Option("the KMS key of what is written; else the parameter's own, or alias/aws/ssm")
    ] = None,
    tag_prefix: TagPrefix = "",
    fold: Fold = "keep",
) -> ParameterKeys | ParameterSecrets:
    """Secrets in the Parameter Store of AWS Systems Manager, always written as a SecureString.

    Who we are is what boto3 finds. `tag_prefix` and `fold` are for the layout `secrets`.

    Raises:
        ConfigurationError: an option is wrong, or boto3 finds no region or no such profile.
        ImportError: boto3 is not installed. Strongroom names the extra that brings it.
    """
    check_parameter_store(layout=layout, tag_prefix=tag_prefix, fold=fold)
    below = _prefix(prefix.removeprefix("/"))
    service = _service("ssm", region, profile, endpoint_url)
    if layout == "keys":
        return ParameterKeys(service, below, kms_key)
    return ParameterSecrets(service, below, kms_key, Tags(tag_prefix), fold)


def check_secrets_manager(*, prefix: str = "", recovery_days: int = _LONGEST_WINDOW, **_: object) -> None:
    """Looks for what is wrong with the options of `open_secrets_manager`. What boto3 would find is not looked for.

    Raises:
        ConfigurationError: an option is wrong.
    """
    _prefix(prefix)
    if not _SHORTEST_WINDOW <= recovery_days <= _LONGEST_WINDOW:
        raise ConfigurationError(f"recovery_days: {recovery_days} is not from {_SHORTEST_WINDOW} to {_LONGEST_WINDOW}")


def check_parameter_store(
    *, prefix: str = "", layout: str = "keys", tag_prefix: str = "", fold: str = "keep", **_: object
) -> None:
    """As `check_secrets_manager`, for `open_parameter_store`."""
    _prefix(prefix.removeprefix("/"))
    if layout == "keys" and (tag_prefix or fold != "keep"):
        raise ConfigurationError("layout: 'keys' has neither `tag_prefix` nor `fold`, which are for 'secrets'")


def _service(name: str, region: str | None, profile: str | None, endpoint_url: str | None) -> Service:
    import boto3  # type: ignore[import-untyped]  # boto3 ships no types

    _ = boto3  # so that its absence is known now, whoever asks first
    service = Service(name, Access(region, profile, endpoint_url))
    service.open()
    return service


def _prefix(prefix: str) -> str:
    try:
        return check_prefix(prefix)
    except InvalidPathError as error:
        reason = error.reason
    raise ConfigurationError(f"prefix: {reason}. Write it as segments joined by single slashes")
