"""An event loop whose time is a number: when nothing is ready it jumps to the next timer."""

import asyncio
from typing import Any, NoReturn


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks in one order and one order only; knows no socket, no thread and no real clock."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Let time pass in place of waiting: the base class asks for events here."""
        if timeout is None:
            self._stuck()
        self._now += timeout
        return []

    def end(self) -> None:
        """Close what still hangs, as the end of a process would: quietly."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined] # tasks of processes that died
            coroutine = task.get_coro()
            assert coroutine is not None
            coroutine.close()
        self.close()

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody waits in another thread."""

    def _stuck(self) -> NoReturn:
        raise RuntimeError("everything waits and nothing is scheduled")
