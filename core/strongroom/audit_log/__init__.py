"""The audit log: one line of JSON for each read, change and step, in a chain of hashes.

`[audit] file` turns it on, or the argument `audit` of `SecretsManager`, or STRONGROOM_AUDIT_FILE. A block of code gives
the reason of its reads and changes::

    from strongroom.audit_log import reason

    with reason("ticket 4711"):
        get_secret("database/connection")

`strongroom audit verify` names the first broken line.
"""

from strongroom.audit_log.subscription import reason

__all__ = ["reason"]
