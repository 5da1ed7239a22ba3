"""`manage.py cleanup`: what every node also does by itself, for cron or by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from connections.bus import is_shared
from connections.maintenance import Cleaned, registry_clean, registry_due
from connections.manager import websocket_manager
from connections.resync import tell_doubts
from ovara import background
from ovara.conf import ovara_settings
from ovara.errors import OvaraError


class Command(BaseCommand):
    help = (
        "Closes the inactive connections of every running server, closes what dead servers left, "
        "and deletes closed connections past their retention, expired sessions and tokens."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--max-inactive-minutes",
            type=float,
            default=30.0,
            metavar="MINUTES",
            help="close connections that sent nothing but ping for so long (default: 30)",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="change nothing, print what would be done"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        minutes: float = options["max_inactive_minutes"]
        dry_run: bool = options["dry_run"]
        try:
            closed = websocket_manager.sync.cleanup_inactive_connections(minutes, dry_run=dry_run)
            cleaned = registry_due() if dry_run else registry_clean()
        except (ValueError, OvaraError) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            variable = settings.DATABASE_VARIABLE
            raise CommandError(f"The database that {variable} names: {error}") from error
        if is_shared():
            background.run(_tell_doubts(cleaned))
        if dry_run:
            self.stdout.write("Dry run: nothing was changed.")
        self._report(minutes, closed, cleaned)

    def _report(self, minutes: float, closed: int, cleaned: Cleaned) -> None:
        days = ovara_settings().connection_retention_days
        self.stdout.write(f"Connections inactive for {minutes:g} minutes, closed: {closed}")
        self.stdout.write(f"Connections of dead nodes, closed: {cleaned.lost}")
        self.stdout.write(f"Connections closed over {days:g} days ago, deleted: {cleaned.purged}")
        self.stdout.write(f"Expired sessions, deleted: {cleaned.sessions}")
        self.stdout.write(f"Expired revoked tokens, deleted: {cleaned.tokens}")


async def _tell_doubts(cleaned: Cleaned) -> None:
    tell_doubts(websocket_manager.node, cleaned.in_doubt)
