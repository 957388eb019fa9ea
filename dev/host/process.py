"""Starts the host as a process of its own, for the demo and for tests."""

from collections.abc import Mapping
from pathlib import Path

from dev.process import Running
from dev.process import start as start_module


def start(
    app: Path,
    *,
    log: Path,
    port: int = 0,
    env: Mapping[str, str] | None = None,
    key: str | None = None,
    settings: Path | None = None,
    grace: float | None = None,
) -> Running:
    """Serve an app until `stop` or `kill`; `url` has the route prefix, `env` is added to this process's own.

    Raises dev.process.NotStarted with the reason if it does not become ready.
    """
    arguments = ["--app", str(app.resolve()), "--port", str(port)]
    if settings is not None:
        arguments += ["--settings", str(settings.resolve())]
    if grace is not None:
        arguments += ["--grace", str(grace)]
    environment = {**(env or {}), **({"DEV_HOST_KEY": key} if key else {})}
    return start_module("dev.host", arguments, log=log, environment=environment)
