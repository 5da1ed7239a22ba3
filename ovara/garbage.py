"""The garbage collector in a server process.

It looks for circles whenever 700 more objects were made than went: once for every five handshakes
of a storm. What the start has made stays anyway, and a server that makes thousands of objects a
second can let some more gather.
"""

from __future__ import annotations

import gc

# More objects made than gone, before it looks for circles among the young ones. A circle that waits
# costs some hundred bytes.
YOUNG_OBJECTS = 20_000


def settle_down() -> None:
    """Once everything is imported: count what there is as here to stay, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
