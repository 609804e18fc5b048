"""Rotation: replace a credential where it is used and where it is stored, as one transaction.

`SecretsManager.rotations` is the public face. `strongroom.rotate.spi` is for the authors of rotators.
"""
