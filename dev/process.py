"""Runs the parts of the local stack as processes: each says when it is ready, and none outlives its parent.

A part prints one line `ready <url>` on standard output when it takes requests. `python -m dev.process MODULE`
runs a module under a guard: when the parent is gone, however it went, the guard's standard input closes, and
the module is asked to end.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READY = "ready "
GRACE = 5.0
"""Seconds between asking a process to end and ending it."""


class NotStarted(Exception):
    """A part did not become ready; the message has the end of its log."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A part that is ready at `url`; its log (both of its streams) is a file."""

    name: str
    url: str
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def stop(self) -> None:
        """Ask it to end, and end it if it does not within 5 s."""
        _end(self.process, signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        _end(self.process, signal.SIGKILL)


def start(
    module: str,
    arguments: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    patience: float = 30.0,
) -> Running:
    """Start a module as a process and wait until it says that it is ready; raises NotStarted.

    `environment` is added to this process's own; `patience` is in seconds.
    """
    name = module.rpartition(".")[2]
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
            [sys.executable, "-u", "-m", "dev.process", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl-C at a terminal goes to the parent alone, which stops its parts in order.
            start_new_session=True,
        )
    try:
        url = _wait_until_ready(module, process, log, begin, patience)
    except BaseException:
        _end(process, signal.SIGKILL)
        raise
    return Running(name=name, url=url, process=process, log=log)


def tail(log: Path, lines: int = 20, begin: int = 0) -> str:
    """Read the last lines of a log."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(begin)
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    return ""


def _wait_until_ready(
    module: str, process: subprocess.Popen[bytes], log: Path, begin: int, patience: float
) -> str:
    last = time.monotonic() + patience
    while True:
        ended = process.poll() is not None
        written = _read_whole_lines(log, begin)
        for line in written:
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        if ended or time.monotonic() > last:
            what = f"ended with status {process.returncode}" if ended else f"was not ready after {patience} s"
            raise NotStarted(f"{module} {what}:\n{tail(log, 20, begin)}")
        time.sleep(0.02)


def _read_whole_lines(log: Path, begin: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(begin)
        return [line.decode("utf-8", "replace") for line in file if line.endswith(b"\n")]


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin:
        process.stdin.close()


def _end_with_parent() -> None:
    # Read past Python's own file object: its lock would be waited for when this process ends by itself.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def main() -> None:
    """Run the module named by the first argument under the guard."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
