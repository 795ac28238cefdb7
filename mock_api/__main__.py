"""``python -m mock_api``: serve the mock on a port of its own until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import uvicorn

from mock_api.accounts import Account, Accounts
from mock_api.app import create_app
from mock_api.listening import Connection, PublicListener, bound
from mock_api.mock import FileSettings
from mock_api.rows import Rules
from mock_api.world import World


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        prog="python -m mock_api",
        description="A server that behaves as the worker-facing API does. All times in seconds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cli.add_argument("--host", default="127.0.0.1", help="address to listen on")
    cli.add_argument("--port", type=int, default=0, help="port to listen on; 0: a free one")
    cli.add_argument("--idle-seconds", type=int, default=5, help="life of a connection that is idle")
    cli.add_argument("--data", type=Path, required=True, help="folder for input files, uploads and logs")
    _add_access(cli.add_argument_group("who may call"))
    _add_queue(cli.add_argument_group("the queue"))
    _add_files(cli.add_argument_group("files"))
    return cli


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--account", default="worker", help="name of the first worker account")
    group.add_argument("--token", default="mock-token", help="its bearer token, which never expires")
    group.add_argument("--password", default="mock-password", help="its password at POST /cognito")
    group.add_argument("--token-seconds", type=float, default=3600, help="life of tokens from /cognito")
    group.add_argument("--token-ahead", type=float, default=0, help="how far their iat lies in the future")
    group.add_argument("--api-key", default="mock-api-key", help="x-api-key of POST /_jobs")


def _add_queue(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--timeout-failure", type=float, default=300, help="silence that ends a lease")
    group.add_argument("--scan-period", type=float, default=60, help="time between scans for it; 0: none")
    group.add_argument("--max-retries", type=int, default=2, help="how often a silent job is queued again")
    group.add_argument(
        "--no-retry-different", action="store_true", help="offer a job to an account that had it before"
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--files", choices=("local", "presigned"), default="local", help="how files travel")
    group.add_argument("--url-seconds", type=int, default=600, help="how long a presigned request holds")
    group.add_argument(
        "--max-post-bytes", type=int, default=5 * 10**9, help="the most that one POST may bring"
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. Exit code 0, or 1 if the port or the folder cannot be used."""
    args = parser().parse_args(arguments)
    try:
        args.data.mkdir(parents=True, exist_ok=True)
        asyncio.run(serve(args))
    except OSError as error:
        print(f"The mock cannot start: {error}. Choose another --port or --data.", file=sys.stderr)
        return 1
    return 0


async def serve(args: argparse.Namespace) -> None:
    """Listen, say where on stdout, and return once SIGTERM or SIGINT came."""
    with contextlib.closing(bound(args.host, 0)) as control:
        listener = PublicListener(args.host, args.port)
        with contextlib.closing(listener):
            control_url = f"http://{args.host}:{control.getsockname()[1]}"
            app = create_app(_world(args), args.data.resolve(), _files(args), listener, control_url)
            config = uvicorn.Config(
                app,
                http=Connection,
                loop="asyncio",
                ws="none",
                lifespan="on",
                log_level="warning",
                proxy_headers=False,
                timeout_keep_alive=args.idle_seconds,
                timeout_graceful_shutdown=1,
            )
            server = _Server(config)
            running = asyncio.create_task(server.serve(sockets=[control]))
            _stop_on_signals(server, listener)
            await server.startup_done(running)
            await listener.open(partial(Connection, config, server.server_state, server.lifespan.state))
            print(f"mock API listening on http://{args.host}:{listener.port}", flush=True)
            await running


def _world(args: argparse.Namespace) -> World:
    rules = Rules(
        timeout_failure=args.timeout_failure,
        scan_period=args.scan_period,
        max_retries=args.max_retries,
        retry_different=not args.no_retry_different,
        api_key=args.api_key,
    )
    accounts = partial(Accounts, token_seconds=args.token_seconds, ahead_seconds=args.token_ahead)
    world = World(rules, accounts=accounts)
    world.add_account(Account(args.account, args.password), args.token)
    return world


def _files(args: argparse.Namespace) -> FileSettings:
    return FileSettings(args.files == "presigned", args.url_seconds, args.max_post_bytes)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again after its end, and the exit code would not be 0.
        yield

    async def startup_done(self, running: asyncio.Task[None]) -> None:
        while not self.started and not running.done():
            await asyncio.sleep(0.005)
        if running.done():
            await running


def _stop_on_signals(server: uvicorn.Server, listener: PublicListener) -> None:
    def stop() -> None:
        server.should_exit = True
        listener.down(None)

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop)


if __name__ == "__main__":
    sys.exit(main())
