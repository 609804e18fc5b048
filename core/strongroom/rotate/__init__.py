"""Rotation: replace a credential in its service and in its store, as one transaction.

`SecretsManager.rotations` is the public face. `strongroom.rotate.spi` is for the authors of rotators.
"""

from typing import TYPE_CHECKING

from strongroom._lazy_names import lazy_names

# Import each name at first use (PEP 562), so that a plugin that imports `strongroom.rotate.spi` loads nothing else.
if TYPE_CHECKING:
    from strongroom.rotate.rotations import RotatedVersion as RotatedVersion
    from strongroom.rotate.rotations import Rotations as Rotations
    from strongroom.rotate.rotations import RotationStatus as RotationStatus
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"strongroom.rotate.rotations": "RotatedVersion Rotations RotationStatus"}
    )
