"""Account and role of a store, before a request. A separate file, because a hit in the disk cache loads no service."""

from __future__ import annotations

import os
from collections.abc import Mapping

from strongroom.secret import Value
from strongroom.store import library_contents

_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_OLDER = ("~/.boto", "/etc/boto.cfg")
_OTHER_VARIABLES = ("AWS_CREDENTIAL_FILE", "BOTO_CONFIG")


def contents(_profile: object) -> Mapping[str, Value] | None:
    """Return the AWS_* variables and the files in which botocore finds profiles and credentials.

    They decide about account and role, unless a program gives the credentials: the result is None then. The role
    of a machine or task is not among them, and is bound to the machine as the disk cache is.
    """
    files = [os.environ.get(variable) or usual for variable, usual in _FILES]
    files += [*_OLDER, *filter(None, map(os.environ.get, _OTHER_VARIABLES))]
    found = library_contents("AWS_", files)
    if any(isinstance(content, bytes) and b"credential_process" in content for content in found.values()):
        return None
    return found
