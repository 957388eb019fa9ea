"""Serve the fake third party: `python -m dev.provider`; secrets come from the environment."""

import argparse
import asyncio
import secrets
import signal

from aiohttp import web

from dev.provider.server import ThirdParty, environment


async def _serve(arguments: argparse.Namespace) -> None:
    seed = secrets.token_hex(8) if arguments.seed is None else arguments.seed
    third_party = ThirdParty(environment(), seed=seed, retry_for=arguments.retry_for)
    # A start that hangs is dropped when its caller goes away.
    runner = web.AppRunner(
        third_party.application(), handler_cancellation=True, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    ended = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, ended.set)
    try:
        site = web.TCPSite(runner, arguments.host, arguments.port)
        try:
            await site.start()
        except OSError as error:
            raise SystemExit(f"cannot listen on port {arguments.port}: {error.strerror}") from None
        host, port = runner.addresses[0][:2]
        print(f"ready http://{host}:{port}", flush=True)
        await ended.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.provider", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--seed", type=int, help="makes ids and chance repeat from run to run")
    parser.add_argument(
        "--retry-for", type=float, default=60.0, help="seconds for which a callback is sent again"
    )
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
