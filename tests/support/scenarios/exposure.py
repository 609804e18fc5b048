"""The whole text of an error, as a tool prints it that shows local variables."""

from __future__ import annotations

import traceback


def shown_by(error: BaseException, test_file: str) -> str:
    """The text, the attributes and the contexts of an error, and the frames on its way with their locals.

    Args:
        test_file: `__file__` of the test, whose own frames at the beginning do not count.
    """
    parts, seen = [], error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen))]
        seen = seen.__cause__ or seen.__context__
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == test_file:
        trace = trace.tb_next
    parts += traceback.TracebackException(type(error), error, trace, capture_locals=True).format()
    return "".join(parts)
