"""`make torture`: kill servers again and again while clients talk, and look for what was lost.

SEED and KILLS come from the environment or as options; `--help` lists all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import django

from tests.support.environment import ROOT, server_environment
from tests.support.redis_server import RedisServer
from tests.support.stores import kind_of_the_run, make_store
from tests.torture.options import SERVER_SETTINGS, Options


def main() -> int:
    options = arguments()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ovara-torture-")))
        database = {"DATABASE_URL": options.database_url}
        if not options.database_url:
            database = own_database(stack, options.store, folder)
        settings = SERVER_SETTINGS | database
        redis = own_redis(folder) if options.has_own_redis else None
        if redis is not None or options.redis_url:
            settings["REDIS_URL"] = redis.url if redis is not None else options.redis_url
        environment = server_environment(database, settings)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env=environment,
            check=True,
        )
        # This process looks into the same database, with the same settings.
        os.environ |= environment
        django.setup()
        return torture(options, folder, settings, redis)


def own_database(stack: ExitStack, kind: str, folder: Path) -> dict[str, str]:
    """An empty database of that kind, in a server that ends with the run."""
    store = make_store(kind)
    stack.callback(store.stop)
    store.start()
    name = store.new_name(folder / "db.sqlite3")
    store.create(name)
    return store.environment(name)


def own_redis(folder: Path) -> RedisServer:
    """Not started."""
    program = shutil.which("redis-server") or sys.exit("No redis-server: make test-deps")
    return RedisServer(program, folder=folder)


def torture(
    options: Options, folder: Path, settings: dict[str, str], redis: RedisServer | None
) -> int:
    """Run it; 1 if anything was lost. Needs Django to be set up."""
    from tests.torture.run import Torture, servers_for

    print(
        f"SEED={options.seed} repeats this: {options.kills} kills of {options.nodes} "
        f"{options.kind} on {options.store}, "
        f"{options.clients} clients in {options.conversations} conversations",
        flush=True,
    )
    servers = servers_for(options, folder, settings)
    run = Torture(options, servers, lambda words: print(words, flush=True), redis)
    report = asyncio.run(run.run())
    print(report)
    if report.faults:
        for server in servers:
            print(
                f"The end of {server.log_path.name}:", *server.logs().splitlines()[-30:], sep="\n"
            )
    return 1 if report.faults else 0


def arguments() -> Options:
    defaults = Options(seed=0)
    parser = argparse.ArgumentParser(description=__doc__)
    seed = os.environ.get("SEED") or random.randrange(1_000_000)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--kills", type=int, default=os.environ.get("KILLS") or defaults.kills)
    parser.add_argument("--kind", choices=["daphne", "uvicorn", "ovara"], default=defaults.kind)
    parser.add_argument("--nodes", type=int, default=defaults.nodes)
    parser.add_argument("--clients", type=int, default=defaults.clients)
    parser.add_argument("--conversations", type=int, default=defaults.conversations)
    parser.add_argument("--store", default=kind_of_the_run(), help="see tests/support/stores.py")
    parser.add_argument("--database-url", default=defaults.database_url, help="instead of --store")
    parser.add_argument("--redis-url", default=defaults.redis_url, help="for several nodes")
    parser.add_argument("--max-life-seconds", type=float, default=defaults.max_life_seconds)
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
