"""Secrets as the use cases need them: cached, several valid at once, refreshed when a signature does not fit.

A delivery signed with a secret that is newer than the cache must not be refused, and a flood of forged
deliveries must not drain the vault: so a mismatch asks for one refresh, at most one in ten seconds whether
it succeeds or not, and whoever comes while it is under way waits for the same one. While the vault is away
the secrets at hand go on serving.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.errors import SecretMissing, Unavailable
from services.ports import Clock, SecretSource

LIFETIME = timedelta(minutes=10)
REFRESH_INTERVAL = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    values: tuple[str, ...] = field(repr=False)
    tried_at: datetime
    away: bool = False


@dataclass(slots=True, kw_only=True)
class Secrets:
    """The secrets of this process."""

    source: SecretSource
    clock: Clock
    _kept: dict[str, _Kept] = field(default_factory=dict, repr=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, repr=False)

    async def valid(self, name: str) -> tuple[str, ...]:
        """Return the versions that are valid, newest first; raises SecretMissing or Unavailable."""
        kept = await self._at_most(name, LIFETIME)
        if kept.away and not kept.values:
            raise Unavailable("the vault cannot be reached")
        if not kept.values:
            raise SecretMissing(name)
        return kept.values

    def at_hand(self, name: str) -> tuple[str, ...]:
        """Return the versions that were heard of last, () if none were, without asking the vault."""
        kept = self._kept.get(name)
        return kept.values if kept else ()

    async def newest(self, name: str) -> str:
        """Return the version to use for our own requests; raises SecretMissing or Unavailable."""
        return (await self.valid(name))[0]

    async def refreshed(self, name: str) -> tuple[str, ...]:
        """Return the versions after asking the vault again, unless it was asked a moment ago.

        Raises Unavailable if it could not answer then: what does not fit the old versions may fit a new one.
        """
        kept = await self._at_most(name, REFRESH_INTERVAL)
        if kept.away:
            raise Unavailable("the vault cannot be reached", retry_after=REFRESH_INTERVAL)
        return await self.valid(name)

    async def _at_most(self, name: str, age: timedelta) -> _Kept:
        kept = self._fresh(name, age)
        if kept is None:
            async with self._locks.setdefault(name, asyncio.Lock()):
                kept = self._fresh(name, age) or await self._fetch(name)
        return kept

    def _fresh(self, name: str, age: timedelta) -> _Kept | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept.away or not kept.values:
            age = REFRESH_INTERVAL
        return kept if self.clock.now() - kept.tried_at < age else None

    async def _fetch(self, name: str) -> _Kept:
        try:
            found = await self.source.fetch(name)
            kept = _Kept(values=tuple(filter(None, found)), tried_at=self.clock.now())
        except Unavailable:
            known = self._kept.get(name)
            kept = _Kept(values=known.values if known else (), tried_at=self.clock.now(), away=True)
        self._kept[name] = kept
        return kept
