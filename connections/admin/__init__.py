"""Who is connected, in the admin: clients, connections and nodes.

The server writes all of it, so all of it is read only. Two actions reach open connections, through
the manager like any other server code: 'disconnect' and 'send a notice'; they need the permission
to change connections. Deleted can be what is over: closed connections, and clients that have no
open one. Nodes go by themselves.
"""

from connections.admin.clients import ClientAdmin
from connections.admin.connections import ConnectionAdmin
from connections.admin.nodes import NodeAdmin

__all__ = ["ClientAdmin", "ConnectionAdmin", "NodeAdmin"]
