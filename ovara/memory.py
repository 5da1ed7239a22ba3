"""The memory of a server process: the garbage collector, and the allocator under it.

The collector looks for circles whenever 700 more objects were made than went: once for every five
handshakes of a storm. What the start has made stays anyway, and a server that makes thousands of
objects a second can let some more gather.

glibc gives each thread a heap of its own, and what is free in one is of no use to the others
(docs/adr/0044-one-heap.md).
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

# More objects made than gone, before it looks for circles among the young ones. A circle that waits
# costs some hundred bytes.
YOUNG_OBJECTS = 20_000
# glibc's malloc.h: how many heaps there may be.
_M_ARENA_MAX = -8


def settle_down() -> None:
    """Once everything is imported, before threads are started: count what there is as here to stay,
    look for circles less often, and have one heap."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    if sys.platform == "linux" and not os.environ.get("MALLOC_ARENA_MAX"):
        _have_one_heap()


def _have_one_heap() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Not in musl, which has one anyway.
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
