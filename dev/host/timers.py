"""Wakes functions by the clock: NCRONTAB (seconds first) or a TimeSpan, one run of a timer at a time.

https://github.com/Azure/azure-webjobs-sdk-extensions/blob/dev/src/WebJobs.Extensions/Extensions/Timers
(TimerListener.cs, TimerSchedule.cs). As there: the next time counts from the end of a run, so what a long run
overlaps is skipped, and local time is used.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from azure.functions.meta import Datum
from croniter import CroniterBadCronError, croniter

from dev.host.configuration import parse_duration
from dev.host.index import Function, Timer, converter
from dev.host.invocation import TraceContext, invoke

log = logging.getLogger(__name__)

Schedule = Callable[[datetime], datetime]


class ScheduleError(ValueError):
    """The text is neither an NCRONTAB expression nor a TimeSpan."""


def parse_schedule(text: str) -> Schedule:
    """Return the function that tells the next time after a given one.

    Day of month and day of week must both fit (https://github.com/atifaziz/NCrontab), unlike in Unix cron.
    Raises ScheduleError.
    """
    fields = text.split()
    try:
        if len(fields) == 1:
            period = parse_duration(text)
            if period <= timedelta(0):
                raise ScheduleError(text)
            return lambda now: now + period
        if len(fields) not in (5, 6):
            raise ScheduleError(text)
        croniter(text, second_at_beginning=True)
    except (ValueError, CroniterBadCronError) as error:
        raise ScheduleError(f"{text} is no schedule: seconds minutes hours days months weekdays.") from error

    def following(now: datetime) -> datetime:
        moment: datetime = croniter(text, now, datetime, day_or=False, second_at_beginning=True).get_next()
        return moment

    return following


class TimerListener:
    """Runs one function by its schedule."""

    def __init__(self, function: Function, trigger: Timer) -> None:
        """Raises ScheduleError if the trigger's schedule cannot be read."""
        self._function = function
        self._following = parse_schedule(trigger.schedule)
        self._run_on_startup = trigger.run_on_startup
        self._waiting: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin to wait. Needs a running event loop."""
        self._waiting = asyncio.create_task(self._run(), name=f"timer of {self._function.name}")

    async def stop(self) -> None:
        """Start no further run, and return when the one under way has ended."""
        self._stopping.set()
        if self._waiting is not None:
            await self._waiting

    async def _run(self) -> None:
        if self._run_on_startup:
            await self._fire()
        while not self._stopping.is_set():
            due = self._following(datetime.now().astimezone())
            await self._wait_until(due)
            if not self._stopping.is_set():
                await self._fire()

    async def _wait_until(self, due: datetime) -> None:
        # In steps of at most a minute: a suspended machine or a set clock then costs no more than that.
        while not self._stopping.is_set():
            left = (due - datetime.now().astimezone()).total_seconds()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(self._stopping.wait(), min(left, 60.0))
            except TimeoutError:
                continue

    async def _fire(self) -> None:
        # https://github.com/Azure/azure-webjobs-sdk-extensions/blob/dev/src/WebJobs.Extensions/Extensions/Timers/TimerInfo.cs
        information = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        try:
            argument = converter("timerTrigger").decode(
                Datum(json.dumps(information), "json"), trigger_metadata=None
            )
            await invoke(self._function, argument, TraceContext.continuing())
        except Exception:
            log.exception("invocation failed", extra={"function": self._function.name})
