"""A forked child of a test, and its result."""

import json
import os
import traceback
import warnings


def forked(work, *, fork=None):
    """Return the result of `work` in a child, through JSON. `fork` is another one than Python's, such as libc's."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():  # a process with threads forks
        warnings.simplefilter("ignore", DeprecationWarning)
        child = (fork or os.fork)()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001  # the child must not return into the tests
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        content = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(content)
