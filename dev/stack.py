"""Runs everything locally on one set of settings: Service Bus emulator, fake third party, functions.

`python -m dev.stack` leaves them running until Ctrl-C, `python -m dev.stack PART` only one of them. The
settings are local.settings.json if it is there, else local.settings.json.example; an address or path in them
that is the stack's own follows the ports and the directory that were chosen.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Self

from dev.process import ROOT, NotStarted, Running, start, tail

LOCAL = ROOT / ".local"
MODULES = {"servicebus": "dev.servicebus", "provider": "dev.provider", "functions": "dev.host"}
PARTS = tuple(MODULES)
"""In the order in which they are started; they are stopped in the opposite one."""


class PortTaken(Exception):
    """A port is in use; the message says which, and how to choose another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the parts listen, on 127.0.0.1; each has an environment variable, FUNCTIONS_PORT and so on."""

    servicebus: int = 5672
    servicebus_health: int = 5300
    provider: int = 9000
    functions: int = 7071

    @classmethod
    def chosen(cls, environment: Mapping[str, str]) -> Self:
        """Read the ports from the environment; raises ValueError for what is no port."""
        found = {}
        for one in fields(cls):
            name = f"{one.name.upper()}_PORT"
            text = environment.get(name)
            if text is None:
                continue
            if not text.isdecimal() or not 0 < int(text) < 65536:
                raise ValueError(f"{name} must be a port, 1 to 65535")
            found[one.name] = int(text)
        return cls(**found)

    @classmethod
    def free(cls) -> Self:
        """Find ports that nobody listens on."""
        with contextlib.ExitStack() as sockets:
            found = {}
            for one in fields(cls):
                taken = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
                found[one.name] = taken.getsockname()[1]
            return cls(**found)

    def check(self, parts: Sequence[str]) -> None:
        """Raise PortTaken if somebody listens where one of these parts is to listen."""
        for one in fields(self):
            if one.name.partition("_")[0] not in parts:
                continue
            port = getattr(self, one.name)
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError as error:
                name, reason = f"{one.name.upper()}_PORT", os.strerror(error.errno or 0)
                raise PortTaken(
                    f"port {port} ({one.name.replace('_', ' ')}) cannot be used: {reason}.\n"
                    f"Stop what listens there, or choose another: {name}={port + 1000} make up"
                ) from None


@dataclass(slots=True, kw_only=True)
class Stack:
    """The parts that run, by name; each can be stopped or killed, and started again as it was."""

    directory: Path
    ports: Ports
    settings: dict[str, str] = field(repr=False)
    running: dict[str, Running] = field(default_factory=dict)

    @property
    def functions_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.functions}"

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.ports.provider}"

    @property
    def connection(self) -> str:
        """What a Service Bus SDK connects with."""
        return self.settings["SERVICEBUS"]

    def log(self, part: str) -> Path:
        return self.directory / "logs" / f"{part}.log"

    def start(self, part: str) -> None:
        """Start a part and wait until it is ready; raises NotStarted."""
        environment = dict(self.settings)
        if part == "provider":
            environment["STRIPE_WEBHOOK_URL"] = f"{self.functions_url}/api/webhooks/stripe"
        module = MODULES[part]
        arguments = self._arguments(part)
        self.running[part] = start(module, arguments, log=self.log(part), environment=environment)

    def _arguments(self, part: str) -> list[str]:
        ports = self.ports
        if part == "provider":
            return ["--port", str(ports.provider)]
        if part == "servicebus":
            config, store = ROOT / "dev" / "entities.json", self.directory / "servicebus.db"
            listen = ["--port", str(ports.servicebus), "--health-port", str(ports.servicebus_health)]
            return ["--config", str(config), "--store", str(store), *listen]
        # The settings are given as environment: the file is named so that no other one is read.
        settings = ROOT / "local.settings.json.example"
        app = ["--app", str(ROOT / "function_app.py"), "--settings", str(settings)]
        return [*app, "--port", str(ports.functions)]

    def stop(self) -> None:
        """Stop all parts, the last started first."""
        while self.running:
            _, part = self.running.popitem()
            part.stop()

    def ended(self) -> str | None:
        """Name a part that has ended by itself, if there is one."""
        return next((name for name, one in self.running.items() if one.process.poll() is not None), None)


@contextlib.contextmanager
def running(
    directory: Path, ports: Ports, settings: Path | None = None, parts: Sequence[str] = PARTS
) -> Iterator[Stack]:
    """Run parts, with their files in `directory`; raises PortTaken or NotStarted."""
    ports.check(parts)
    directory.mkdir(parents=True, exist_ok=True)
    stack = Stack(directory=directory, ports=ports, settings=read_settings(directory, ports, settings))
    try:
        for part in PARTS:
            if part in parts:
                stack.start(part)
        yield stack
    finally:
        stack.stop()


def read_settings(directory: Path, ports: Ports, settings: Path | None = None) -> dict[str, str]:
    """Read the settings and let what is the stack's own follow its ports and its directory."""
    own = ROOT / "local.settings.json"
    path = settings or (own if own.exists() else ROOT / "local.settings.json.example")
    values: dict[str, str] = json.loads(path.read_text("utf-8"))["Values"]
    moves = {
        "sb://localhost:5672;": f"sb://localhost:{ports.servicebus};",
        "http://127.0.0.1:9000": f"http://127.0.0.1:{ports.provider}",
        "http://127.0.0.1:7071": f"http://127.0.0.1:{ports.functions}",
        "sqlite:.local/": f"sqlite:{directory}/",
        "file:.local/": f"file:{directory}/",
    }
    for here, there in moves.items():
        values = {name: value.replace(here, there) for name, value in values.items()}
    return values


def walk_through(stack: Stack) -> str:
    """Write what a newcomer can paste into another terminal."""
    jobs, control = f"{stack.functions_url}/api/jobs", f"{stack.provider_url}/_control"
    prompt = '{"input": {"model": "meta/llama", "input": {"prompt": "hello from the bus"}}}'
    payment = '{"input": {"amount": 1999, "currency": "eur", "payment_method": "pm_card_visa"}}'
    return f"""
Running, until Ctrl-C:
  functions     {stack.functions_url}
  Service Bus   localhost:{stack.ports.servicebus}
  third party   {stack.provider_url}
  files, logs   {stack.directory}

In another terminal, in {ROOT}:

1. Watch the outcomes, as a consumer of the topic does:
   SERVICEBUS='{stack.connection}' {sys.executable} -m dev.consume

2. Start a job: 202 at once, with the address that tells its state (Location):
   curl -i {jobs}/replicate -H 'content-type: application/json' -d '{prompt}'

3. Start one with a key. Sent again, it is the same job (200); with another amount it is refused (422):
   curl -i {jobs}/stripe -H 'content-type: application/json' -H 'idempotency-key: order-1' -d '{payment}'

4. Ask for a job's state:
   curl -i {jobs}/JOB_ID

5. Let the third party work slowly, start a job as in 2, and cancel it:
   curl {control} -d '{{"provider": "replicate", "latency": 60}}'
   curl -i -X DELETE {jobs}/JOB_ID

6. Let the third party refuse twice, start a job as in 2, and see it tried again:
   curl {control} -d '{{"provider": "replicate", "latency": 1, "status": 503, "times": 2}}'

7. See what the third party saw:
   curl {control}/state
"""


def _until_all_ended(stack: Stack) -> None:
    """Tell of each part that ends, and leave the others running."""
    while stack.running:
        while (name := stack.ended()) is None:
            time.sleep(0.5)
        del stack.running[name]
        print(f"\n{name} has ended; the end of its log:\n{tail(stack.log(name), 5)}", file=sys.stderr)
        if stack.running:
            print(f"The others go on. Start it again: {sys.executable} -m dev.stack {name}", file=sys.stderr)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.stack", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these of {', '.join(PARTS)}")
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    for part in parts:
        (LOCAL / "logs" / f"{part}.log").unlink(missing_ok=True)
    try:
        with running(LOCAL, Ports.chosen(os.environ), parts=parts) as stack:
            print(f"running: {', '.join(parts)}" if parts is not PARTS else walk_through(stack), flush=True)
            _until_all_ended(stack)
    except (PortTaken, NotStarted, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
