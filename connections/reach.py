"""Reaching connections from whatever process this is: a node, or one that only shares their layer.

What stays on this node never passes through the channel layer.
"""

from __future__ import annotations

from typing import Any

from connections import bus, selectors
from connections.errors import ChannelLayerNotShared
from connections.node import Node
from connections.publication import Publication, group_name
from ovara.database import in_thread


async def publish(node: Node, item: Publication) -> None:
    """Deliver a publication to its audience on every node.

    Raises:
        ChannelLayerNotShared: this process is no node, and shares no layer with one.
    """
    if item.kind == "connection":
        # A node that is none any more, or a forked child, still has the sockets of one.
        if node.has_started and item.target in node.hub.connections:
            node.hub.deliver(item)
        else:
            await send_to_holder(node, item.target, item)
    elif node.running:
        node.publish(item)
    else:
        await _send_to_group(node, item.group, item)


async def send_to_holder(
    node: Node, connection_id: str, item: Publication | dict[str, Any]
) -> bool:
    """Send to the other node that holds a connection; False where there is none.

    Raises:
        ChannelLayerNotShared: this process is no node, and shares no layer with one.
    """
    holder = await in_thread(selectors.connection_node, connection_id)
    # Our own, though not in the hub: it has just ended, and its row is about to be closed.
    if holder is None or holder == node.id:
        return False
    await _send_to_group(node, group_name("node", holder), item)
    return True


async def _send_to_group(node: Node, group: str, item: Publication | dict[str, Any]) -> None:
    if node.running:
        node.bus.publish(group, item)
    elif bus.is_shared():
        await bus.send_once(group, item)
    else:
        raise ChannelLayerNotShared
