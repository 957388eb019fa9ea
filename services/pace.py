"""How fast a provider is sent starts, and when it is let rest: one decision for all instances.

    well ──a 429, or three failures in a row──► resting ──its time is over──► one trial ──taken──► well
                                                   ▲                              │
                                                   └──────────turned away─────────┘

What is decided on is a row of the job store, saved by compare and set. A provider that is well and has no
rate limit costs one read of it a second and instance, and no write.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.errors import Unavailable, VersionConflict
from services.lifecycle import ANSWER_GRACE, Answered, Happened, Held, Lost, PutOff, Refused, Trouble, backoff
from services.models import Job, Pace, Version
from services.ports import Clock, JobStore
from services.providers.base import Operation, Provider, RateLimit

TROUBLES = 3
"""How many starts in a row fail before their provider is let rest; one that says 429 is believed at once."""
LONGEST_REST = timedelta(hours=1)
SPREAD = timedelta(minutes=1)
"""Over how long at most the starts that waited come back."""
TRIAL_LOOK = timedelta(seconds=5)
TURN_KEPT = timedelta(seconds=5)
"""How long after its turn a start may still use it."""
REREAD = timedelta(seconds=1)
PATIENCE = timedelta(seconds=5)
MAX_CONFLICTS = 20
CONTENDED = timedelta(seconds=2)

_log = logging.getLogger(__name__)


def ask_turn(
    pace: Pace,
    now: datetime,
    *,
    limit: RateLimit | None,
    turn_at: datetime | None,
    trial: timedelta,
    chance: float,
) -> tuple[Pace, Held | None]:
    """Say whether a start may go now, or when it is to ask again, and the pace that this leaves.

    `turn_at` is the moment that an earlier answer kept for it, `trial` how long a start's answer can take.
    """
    if pace.rests_until and now < pace.rests_until:
        spread = min(pace.rests_until - now, SPREAD) * chance
        return pace, Held(until=pace.rests_until + spread, reason="the provider is given rest")
    if pace.trial_until and now < pace.trial_until:
        return pace, Held(until=now + TRIAL_LOOK * (0.5 + chance), reason="another start tries the provider")
    kept = turn_at is not None and turn_at <= now < turn_at + TURN_KEPT
    if limit and not kept:
        # The generic cell rate algorithm: each start moves the next one's turn by the interval.
        interval = limit.per / limit.starts
        at_once = now - interval * (limit.burst - 1)
        first = max(pace.next_at or at_once, at_once)
        pace = replace(pace, next_at=first + interval)
        if first > now:
            return pace, Held(until=first, turn_at=first, reason="the provider's rate limit")
    if pace.rests_until:
        pace = replace(pace, trial_until=now + trial)
    return pace, None


def note_trouble(
    pace: Pace, now: datetime, trouble: Trouble, retry_after: timedelta | None, chance: float
) -> Pace:
    """Let a provider rest that turns starts away, for longer each time that its trial fails."""
    asked = min(retry_after or timedelta(0), LONGEST_REST)
    if pace.rests_until and now < pace.rests_until:
        return replace(pace, rests_until=max(pace.rests_until, now + asked))
    pace = replace(pace, troubles=pace.troubles + 1, trial_until=None)
    if trouble is Trouble.FAILING and not asked and not pace.rests_until and pace.troubles < TROUBLES:
        return pace
    return replace(pace, rests_until=now + max(backoff(pace.troubles, (1 + chance) / 2), asked))


@dataclass(slots=True)
class _Known:
    pace: Pace
    version: Version | None
    read_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Paces:
    """The pace of each provider, as the job store has it."""

    store: JobStore
    clock: Clock
    chance: Callable[[], float]
    _known: dict[str, _Known] = field(default_factory=dict, init=False, repr=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, init=False, repr=False)

    async def hold(self, provider: Provider, operation: Operation, job: Job) -> Held | None:
        """Ask for a start's turn: None if it may be sent now, else why not, and when to ask again."""

        def decide(pace: Pace, now: datetime) -> tuple[Pace, Held | None]:
            return ask_turn(
                pace,
                now,
                limit=provider.rate_limit,
                turn_at=job.turn_at,
                trial=operation.start_budget + ANSWER_GRACE,
                chance=self.chance(),
            )

        return await self._change(provider.name, decide)

    async def heed(self, provider: str, happened: Happened) -> None:
        """Learn from how a start went; if the store is away, the next one will tell."""

        def decide(pace: Pace, now: datetime) -> tuple[Pace, None]:
            if isinstance(happened, PutOff | Lost) and happened.trouble:
                wait = happened.retry_after if isinstance(happened, PutOff) else None
                return note_trouble(pace, now, happened.trouble, wait, self.chance()), None
            if isinstance(happened, Answered | Refused):
                return Pace(next_at=pace.next_at), None
            return pace, None

        try:
            await self._change(provider, decide)
        except Unavailable:
            _log.warning("pace.not_noted", extra={"provider": provider})

    async def _change(
        self, provider: str, decide: Callable[[Pace, datetime], tuple[Pace, Held | None]]
    ) -> Held | None:
        known = await self._read(provider)
        pace, held = decide(known.pace, self.clock.now())
        if pace == known.pace:
            return held
        lock = self._locks.setdefault(provider, asyncio.Lock())
        try:
            # Those of one instance take turns, so that they do not spoil each other's compare and set.
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await lock.acquire()
        except TimeoutError:
            raise Unavailable("a provider's pace takes too long to be saved") from None
        try:
            return await self._save(provider, decide)
        finally:
            lock.release()

    async def _save(
        self, provider: str, decide: Callable[[Pace, datetime], tuple[Pace, Held | None]]
    ) -> Held | None:
        for _ in range(MAX_CONFLICTS):
            known, now = await self._read(provider), self.clock.now()
            pace, held = decide(known.pace, now)
            try:
                version = await self.store.save_pace(provider, pace, known.version)
            except VersionConflict:
                self._known.pop(provider, None)
                continue
            self._known[provider] = _Known(pace, version, now)
            if pace.rests_until != known.pace.rests_until:
                _log.warning("pace.changed", extra=_described(provider, pace))
            return held
        again = self.clock.now() + CONTENDED * (0.5 + self.chance())
        return Held(until=again, reason="too many starts at once")

    async def _read(self, provider: str) -> _Known:
        known = self._known.get(provider)
        now = self.clock.now()
        if known is None or not timedelta(0) <= now - known.read_at < REREAD:
            pace, version = await self.store.load_pace(provider) or (Pace(), None)
            known = self._known[provider] = _Known(pace, version, now)
        return known


def _described(provider: str, pace: Pace) -> Mapping[str, str | int]:
    until = pace.rests_until.isoformat() if pace.rests_until else "well"
    return {"provider": provider, "troubles": pace.troubles, "rests_until": until}
