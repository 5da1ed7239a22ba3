from django.apps import AppConfig


class ConnectionsConfig(AppConfig):
    name = "connections"
    verbose_name = "Connections"

    def ready(self) -> None:
        from connections import checks, listeners
        from connections.manager import websocket_manager
        from ovara.health import watch_channel_layer

        checks.register_all()
        listeners.connect()
        watch_channel_layer(websocket_manager.node.bus_problem)
