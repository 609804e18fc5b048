"""Encrypted fields of a database, whose key comes from the chain and rotates.

::

    from strongroom.encryption import FieldCipher

    cipher = FieldCipher("columns/customer", "customer.iban")
    text = cipher.encrypt("DE89 3704 0044 0532 0130 00")    # sr1.48291.…
    iban = cipher.decrypt(text)

The keyset is one secret with all keys, `{"primary": "48291", "48291": "…", "61332": "…"}`, or a single key. A text
names its key. The cipher is AES-256-GCM with a random nonce, under a key that HKDF derives for the column, so that no
text of another column is accepted. The keyset is read once and watched. A text of an unknown key lets it be read past
the cache, at most once a second without success; no other text makes a request.
`strongroom.integrations.sqlalchemy` has column types.
"""

from strongroom.encryption.cipher import FieldCipher
from strongroom.encryption.keyset import PREVIOUS, PRIMARY, Keyset, aload, load, new_key

__all__ = ["PREVIOUS", "PRIMARY", "FieldCipher", "Keyset", "aload", "load", "new_key"]
