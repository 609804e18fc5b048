"""The parts of Strongroom that a backend's own commands may use."""

from strongroom.files import private_file

__all__ = ["private_file"]
