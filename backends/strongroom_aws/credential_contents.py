"""What decides which AWS account and role a store uses, as a part of its identity for the disk cache."""

from __future__ import annotations

import os

from strongroom.secret import Value
from strongroom.store.option import named_contents

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
