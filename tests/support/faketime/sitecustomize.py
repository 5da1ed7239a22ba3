"""For processes under libfaketime, which fails every `time.sleep` of Python 3.11 and newer where
the stop-watch is left alone (https://github.com/wolfcw/libfaketime/issues/426)."""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """What `time.sleep` does, by another call of the system."""
    select.select([], [], [], float(seconds))


time.sleep = sleep
