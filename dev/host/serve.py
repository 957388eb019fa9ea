"""Puts the parts together: indexes an app, listens for what wakes its functions, and stops in order."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from dev.host.configuration import ConfigurationError, HostOptions, load_settings, read_host_json
from dev.host.http import HttpListener
from dev.host.index import AppRefused, Function, Http, ServiceBus, Timer, index
from dev.host.routes import TemplateError
from dev.host.servicebus import ServiceBusListener
from dev.host.timers import ScheduleError, TimerListener


class StartRefused(Exception):
    """The host cannot start; the message says what to correct, the cause is what the app itself raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line says; without `settings`, the local.settings.json beside the app counts."""

    app: Path
    host: str
    port: int
    settings: Path | None
    key: str | None
    grace: float  # seconds for running invocations when the host is stopped


async def serve(arguments: Arguments, stopping: asyncio.Event) -> None:
    """Serve the app until `stopping` is set, and print `ready <address>` when it can be called.

    Raises StartRefused before anything listens if the app or a file is not right, and OSError if the port is
    taken.
    """
    try:
        options = _options(arguments)
        functions = index(arguments.app)
        http = HttpListener(functions, options.http, arguments.key)
        listeners = _listeners(functions, options)
    except AppRefused as error:
        raise StartRefused(str(error)) from error.__cause__
    except (ConfigurationError, ScheduleError, TemplateError) as error:
        raise StartRefused(str(error)) from None
    runner = web.AppRunner(
        http.application(),
        access_log=None,
        auto_decompress=False,  # a compressed body reaches the function as it came
        max_field_size=32_768,  # Kestrel's limit for all headers together, in bytes
        shutdown_timeout=arguments.grace,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, arguments.host, arguments.port).start()
        for listener in listeners:
            listener.start()
        sys.stdout.write(f"ready {_address(runner, options.http.prefix)}\n")
        sys.stdout.flush()
        await stopping.wait()
    finally:
        ends = [
            asyncio.create_task(runner.cleanup()),
            *(asyncio.create_task(one.stop()) for one in listeners),
        ]
        await asyncio.wait(ends, timeout=arguments.grace)


def _options(arguments: Arguments) -> HostOptions:
    settings = arguments.settings or arguments.app.parent / "local.settings.json"
    if arguments.settings is not None or settings.exists():
        load_settings(settings, os.environ)
    return read_host_json(arguments.app.parent / "host.json")


def _listeners(
    functions: Sequence[Function], options: HostOptions
) -> list[ServiceBusListener | TimerListener]:
    listeners: list[ServiceBusListener | TimerListener] = []
    for function in functions:
        match function.trigger:
            case ServiceBus() as trigger:
                connection = os.environ.get(trigger.connection)
                if not connection:
                    raise ConfigurationError(
                        f"{function.name}: the setting {trigger.connection} is not there."
                    )
                listeners.append(ServiceBusListener(function, trigger, options.service_bus, connection))
            case Timer() as trigger:
                listeners.append(TimerListener(function, trigger))
            case Http():
                pass
    return listeners


def _address(runner: web.AppRunner, prefix: str) -> str:
    host, port = runner.addresses[0][:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{prefix}".rstrip("/")
