"""Starts the emulator as a process of its own, for tests and for whoever else needs one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from .faults import Fault

_PATIENCE: Final = 10.0  # seconds


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

    @contextmanager
    def faults(self, *faults: Fault) -> Iterator[Callable[[], list[int]]]:
        """Put these faults in force, in place of all others, and take them back at the end.

        What it gives says how often each has hit. Raise ValueError for an address that does not exist.
        """
        self._ask("PUT", json.dumps([asdict(fault) for fault in faults]))
        try:
            yield lambda: [shown["hits"] for shown in self._ask("GET")]
        finally:
            if self._process.poll() is None:
                self._ask("DELETE")

    def _ask(self, method: str, body: str | None = None) -> Any:  # noqa: ANN401 - what JSON holds
        with closing(HTTPConnection(urlsplit(self.health_url).netloc, timeout=_PATIENCE)) as connection:
            connection.request(method, "/faults", body)
            answer = connection.getresponse()
            document = json.load(answer)
        if answer.status != HTTPStatus.OK:
            raise ValueError(document["error"])
        return document

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
            return self._process.wait(_PATIENCE)
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
