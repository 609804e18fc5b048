"""An AppRole on a separate mount, for stores that log in on a real server."""

from __future__ import annotations

import contextlib
import secrets

from strongroom.errors import StoreError


def approle(server, **settings):
    """Create an AppRole that may read `mine/app`, and return the options of a store that uses it."""
    return {"url": server.url, "auth": approle_login(server, **settings)}


def approle_login(server, **settings):
    """Create such an AppRole on a server or a cluster, and return the table `auth` of a store that uses it."""
    mount = f"approle-{secrets.token_hex(4)}"
    policy = server.write_policy({"secret/data/mine/*": ["read"]})
    server.call("POST", f"sys/auth/{mount}", {"type": "approle"})
    server.call("POST", f"auth/{mount}/role/app", {"token_policies": [policy], **settings})
    role_id = server.call("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
    secret_id = server.call("POST", f"auth/{mount}/role/app/secret-id")["data"]["secret_id"]
    server.put("mine/app", {"k": "v"})
    return {"method": "approle", "mount": mount, "role_id": role_id, "secret_id": secret_id}


def lives(server, token):
    """Return True if the server knows the token."""
    try:
        server.call("POST", "auth/token/lookup", {"token": token})
    except StoreError:
        return False
    return True


def living(server, options):
    """Return the living tokens that the role of `options` gave."""
    login, left = f"auth/{options['auth']['mount']}/login", []
    for accessor in server.call("LIST", "auth/token/accessors")["data"]["keys"]:
        with contextlib.suppress(StoreError):  # of another test, revoked meanwhile
            found = server.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            left += [accessor] if found["path"] == login else []
    return left


class CountedRole:
    """An AppRole of a server with an audit file, which counts its requests.

    Attributes:
        server: the server.
        options: those of a store.
        auth: the table `auth` of these options.
        mount: the mount path of the method.
    """

    def __init__(self, server, **settings):
        self.server, self.options = server, approle(server, **settings)
        self.auth = self.options["auth"]
        self.mount = self.auth["mount"]
        self._renewals, self._lookups = self._count_renewals(), self._count_lookups()

    @property
    def logins(self):
        """The number of logins with this role."""
        return self.server.requests(f"auth/{self.mount}/login", operation="update")

    @property
    def renewals(self):
        """The number of tokens that were renewed since the role was made, by any role's stores."""
        return self._count_renewals() - self._renewals

    @property
    def lookups(self):
        """The number of tokens that were looked up since the role was made, by any role's stores."""
        return self._count_lookups() - self._lookups

    def _count_renewals(self):
        return self.server.requests("auth/token/renew-self", operation="update")

    def _count_lookups(self):
        return self.server.requests("auth/token/lookup-self", operation="read")
