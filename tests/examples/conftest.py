"""The examples as processes beside the local stack, as a newcomer runs them."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev.process import ROOT
from dev.stack import Stack
from tests.stack.conftest import client, stack

__all__ = ["client", "stack"]

PATIENCE = 60.0
"""Seconds for what has no other bound: the machine may be busy. A message's lock is half of it."""


@dataclass
class Consumer:
    """`python -m examples.consumer`, its log and its database; `start` after `kill` is a restart."""

    settings: dict[str, str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        return self.directory / "consumer.db"

    def start(self) -> None:
        with (self.directory / "consumer.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.consumer"],
                cwd=ROOT,
                env={**os.environ, **self.settings, "DATABASE": str(self.database)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def end(self, how: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(how)
        return self.process.wait(20)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    @property
    def log(self) -> str:
        return (self.directory / "consumer.log").read_text("utf-8")

    async def logged(self, words: str, times: int = 1) -> list[str]:
        return await logged(self.directory / "consumer.log", words, times)


async def logged(log: Path, words: str, times: int = 1) -> list[str]:
    """Wait until so many lines of a log have these words, and return them."""
    last = asyncio.get_running_loop().time() + PATIENCE
    while True:
        text = await asyncio.to_thread(log.read_text, "utf-8")
        if len(lines := [line for line in text.splitlines() if words in line]) >= times:
            return lines
        assert asyncio.get_running_loop().time() < last, f"no {words!r}:\n{text}"
        await asyncio.sleep(0.1)


@pytest.fixture
def consumer(stack: Stack, tmp_path: Path) -> Iterator[Consumer]:
    one = Consumer(dict(stack.settings), tmp_path)
    one.start()
    yield one
    if one.process and one.process.poll() is None:
        one.process.kill()
        one.process.wait()
