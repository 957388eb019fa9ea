"""Starts the emulator as a process of its own, for tests and for whoever else needs one."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LONGEST_STOP: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An emulator that takes connections; leaving the `with` stops it."""

    port: int
    health_url: str
    _process: "subprocess.Popen[str]" = field(repr=False)

    @property
    def connection_string(self) -> str:
        """What an SDK connects with."""
        return (
            f"Endpoint=sb://localhost:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def stop(self) -> int:
        """Ask it to stop, wait for it, and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> int:
        """Kill it, as a crash would."""
        self._process.kill()
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended, 10 s at most, and return its exit status."""
        try:
            return self._process.wait(_LONGEST_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, if that has not happened."""
        if self._process.poll() is None:
            self.stop()


def start(config: Path, store: Path | None = None, port: int = 0) -> Running:
    """Start an emulator and wait until it takes connections; raise RuntimeError if it does not start."""
    command = [sys.executable, "-m", "dev.servicebus", "--config", str(config.resolve())]
    command += ["--port", str(port), "--health-port", "0"]
    if store is not None:
        command += ["--store", str(store.resolve())]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(  # noqa: S603 - the command is this project's own
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None, "it was asked for"
    line = process.stdout.readline()
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if not line.startswith("ready ") or not {"amqp", "health"} <= words.keys():
        process.stdout.close()
        raise RuntimeError(f"the emulator did not start: exit status {process.wait()}, see its error output")
    return Running(port=int(words["amqp"].rpartition(":")[2]), health_url=words["health"], _process=process)
