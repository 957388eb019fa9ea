"""`python -m dev.servicebus --config Config.json`: runs the emulator until it is told to stop."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from . import control
from .amqp import Server, milliseconds
from .broker import Broker
from .config import ConfigError, read
from .store import Store


def main() -> int:
    """Run the command; return its exit status."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        broker = Broker(read(options.config))
        store = None if options.store is None else Store(options.store)
    except (ConfigError, ValueError, OSError) as error:
        sys.stderr.write(f"servicebus: {error}\n")
        return 2
    if store is not None:
        for address in broker.restore(store.read(milliseconds())):
            logging.getLogger(__name__).warning(
                "stored messages are not configured", extra={"address": address}
            )
    try:
        asyncio.run(_serve(options, broker, store))
    except OSError as error:
        sys.stderr.write(f"servicebus: {error}\n")
        return 1
    finally:
        if store is not None:
            store.close()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.servicebus", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="a Config.json of Microsoft's emulator")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5672, help="for AMQP; 0: any that is free")
    parser.add_argument("--health-port", type=int, default=5300, help="for HTTP; 0: any that is free")
    parser.add_argument("--store", type=Path, help="keep messages in this file, through a kill too")
    return parser.parse_args()


async def _serve(options: argparse.Namespace, broker: Broker, store: Store | None) -> None:
    stop = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _end, stop)
    server = Server(broker, store=store)
    port = await server.listen(options.host, options.port)
    listener, health_port = await control.listen(server, options.host, options.health_port)
    line = f"ready amqp={options.host}:{port} health=http://{options.host}:{health_port}/health"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    await asyncio.wait({stop, server.failed}, return_when=asyncio.FIRST_COMPLETED)
    listener.close()
    await server.close()
    if server.failed.done():
        server.failed.result()


def _end(stop: "asyncio.Future[None]") -> None:
    if not stop.done():
        stop.set_result(None)


if __name__ == "__main__":
    sys.exit(main())
