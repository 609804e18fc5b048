"""Open files of this process, in tests that leave none open."""

from pathlib import Path


def open_descriptors() -> set[str]:
    """Return the numbers of the open files, or an empty set if the system does not list them.

    Compare with `<=`: the collector may close a file of another test meanwhile.
    """
    folder = Path("/proc/self/fd")
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
