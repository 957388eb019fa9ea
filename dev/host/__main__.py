"""`python -m dev.host`: serve a function_app.py; exit status 1, with the reason, if it cannot start."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from dev.host.serve import Arguments, StartRefused, serve

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Lines(logging.Formatter):
    """One line a record, with what came in `extra` at its end."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in PLAIN}
        first, newline, rest = super().format(record).partition("\n")
        return first + "".join(f" {name}={value}" for name, value in extra.items()) + newline + rest


def main() -> int:
    arguments = _arguments()
    logger = logging.StreamHandler()
    logger.setFormatter(Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[logger])
    logging.getLogger("azure").setLevel(logging.WARNING)  # at INFO the SDKs tell of every frame and request
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(_until_signalled(arguments))
    except (StartRefused, OSError) as error:
        logging.getLogger("dev.host").critical("cannot start: %s", error, exc_info=error.__cause__)
        return 1
    return 0


async def _until_signalled(arguments: Arguments) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await serve(arguments, stopping)


def _arguments() -> Arguments:
    parser = argparse.ArgumentParser(
        prog="python -m dev.host", description="Serve a function_app.py locally."
    )
    parser.add_argument("--app", type=Path, default=Path("function_app.py"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7071, help="0 for a free one")
    parser.add_argument(
        "--settings", type=Path, help="default: local.settings.json beside the app, if it is there"
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("DEV_HOST_KEY") or None,
        help="ask for this key (or set DEV_HOST_KEY); without one, none is asked for, as under `func start`",
    )
    parser.add_argument(
        "--grace", type=float, default=30.0, help="seconds for running invocations at the end"
    )
    given = parser.parse_args()
    return Arguments(
        app=given.app.resolve(),
        host=given.host,
        port=given.port,
        settings=given.settings,
        key=given.key,
        grace=given.grace,
    )


if __name__ == "__main__":
    sys.exit(main())
