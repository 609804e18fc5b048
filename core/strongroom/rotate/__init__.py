"""Rotation: replace a credential in its service and in its store, as one transaction.

`SecretsManager.rotations` is the public face. `strongroom.rotate.spi` is for the authors of rotators.
"""
