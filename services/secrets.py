"""Secrets as the use cases need them: cached, several valid at once, refreshed when a signature does not fit.

A delivery signed with a secret that is newer than the cache must not be refused, and a flood of forged
deliveries must not drain the vault: so a mismatch asks for one refresh, at most one in ten seconds, and
whoever comes while it is under way waits for the same one.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.errors import SecretMissing
from services.ports import Clock, SecretSource

LIFETIME = timedelta(minutes=10)
REFRESH_INTERVAL = timedelta(seconds=10)


@dataclass(slots=True)
class _Kept:
    values: tuple[str, ...]
    fetched_at: datetime


@dataclass(slots=True, kw_only=True)
class Secrets:
    """The secrets of this process."""

    source: SecretSource
    clock: Clock
    _kept: dict[str, _Kept] = field(default_factory=dict, repr=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, repr=False)

    async def valid(self, name: str) -> tuple[str, ...]:
        """Return the versions that are valid, newest first; raises SecretMissing or Unavailable."""
        return await self._at_most(name, LIFETIME)

    async def newest(self, name: str) -> str:
        """Return the version to use for our own requests; raises SecretMissing or Unavailable."""
        return (await self.valid(name))[0]

    async def refreshed(self, name: str) -> tuple[str, ...]:
        """Return the versions after asking the vault again, unless it was asked a moment ago."""
        return await self._at_most(name, REFRESH_INTERVAL)

    async def _at_most(self, name: str, age: timedelta) -> tuple[str, ...]:
        async with self._locks.setdefault(name, asyncio.Lock()):
            kept = self._kept.get(name)
            if kept is None or self.clock.now() - kept.fetched_at >= age:
                kept = _Kept(tuple(filter(None, await self.source.fetch(name))), self.clock.now())
                self._kept[name] = kept
        if not kept.values:
            raise SecretMissing(name)
        return kept.values
