"""Django's engine for PostgreSQL, with a pool that is at once over a server that restarted."""
