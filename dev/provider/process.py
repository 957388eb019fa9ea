"""Starts the fake third party as a process."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from dev.process import Running
from dev.process import start as start_process


def start(
    port: int = 0,
    env: Mapping[str, str] | None = None,
    *,
    seed: int | None = None,
    retry_for: float = 60.0,
    log: Path | None = None,
) -> Running:
    """Start it and wait until it takes requests; `env` adds to the environment, port 0 is any free one."""
    arguments = ["--port", str(port), "--retry-for", str(retry_for)]
    if seed is not None:
        arguments += ["--seed", str(seed)]
    if log is None:
        log = Path(tempfile.mkdtemp(prefix="hookbus-")) / "provider.log"
    return start_process("dev.provider", arguments, environment=env, log=log)
