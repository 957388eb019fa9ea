"""Senders' public keys as verification needs them: fetched seldom, kept an hour, and at no stranger's will.

Which key a delivery was signed with is known from the delivery alone, before it is verified. So nothing is
asked but what a scheme's pattern allows, what was asked in vain is not asked again for ten seconds, and each
provider is asked for no more than ten keys that are new in ten seconds, however many names strangers think
up. While a sender's keys cannot be had, or are said to be gone, those at hand go on serving for a day.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.errors import AnswerLost, NotSent, NotVerified, OperatorError, Reason, Unavailable
from services.models import Delivery, HttpRequest
from services.ports import Clock, HttpSender
from services.providers.base import Provider
from services.secrets import Secrets
from services.signatures.scheme import KeySource

LIFETIME = timedelta(hours=1)
# https://docs.fal.ai/model-apis/model-endpoints/webhooks#verifying-your-webhook: at most 24 hours
LONGEST_LIFETIME = timedelta(hours=24)
INTERVAL = timedelta(seconds=10)
MOST_REQUESTS = 10
MOST_DOCUMENTS = 64
MAX_BYTES = 64 * 1024
BUDGET = timedelta(seconds=3)
_NO_SUCH_KEY = frozenset({404, 410})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What was heard when keys were asked for last; no documents if there is no such key."""

    documents: tuple[bytes, ...] = field(repr=False)
    heard_at: datetime
    tried_at: datetime
    away: bool = False


@dataclass(slots=True, kw_only=True)
class Keys:
    """The public keys that this process knows."""

    sender: HttpSender
    secrets: Secrets
    clock: Clock
    _kept: dict[bytes, _Kept] = field(default_factory=dict)
    _sent_at: dict[str, deque[datetime]] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def find(self, provider: Provider, delivery: Delivery) -> Sequence[bytes]:
        """Return the documents with the keys that could have signed a delivery; none if there is no such key.

        Raises NotVerified for a delivery whose keys are not the sender's, Unavailable if they cannot be had.
        """
        kept = await self._at_most(provider, delivery, LIFETIME)
        if kept is None:
            return ()
        if kept.away and (not kept.documents or self.clock.now() - kept.heard_at >= LONGEST_LIFETIME):
            raise Unavailable("the sender's public keys cannot be had", retry_after=INTERVAL)
        return kept.documents

    async def refreshed(self, provider: Provider, delivery: Delivery) -> Sequence[bytes]:
        """Return the documents after asking for them again, unless they were asked for a moment ago.

        Raises Unavailable if they could not be had then: what does not fit the old keys may fit a new one.
        """
        kept = await self._at_most(provider, delivery, INTERVAL)
        if kept is not None and kept.away:
            raise Unavailable("the sender's public keys cannot be had", retry_after=INTERVAL)
        return kept.documents if kept else ()

    def at_hand(self, provider: Provider, delivery: Delivery) -> Sequence[bytes]:
        """Return the documents that were heard of last, without asking for any."""
        source = provider.scheme.key_source if provider.scheme else None
        api_keys = self.secrets.at_hand(provider.api_key) if provider.api_key else ("",)
        if source is None or not api_keys:
            return ()
        try:
            kept = self._kept.get(_name_of(_request(source, delivery, api_keys[0])))
        except (NotVerified, OperatorError):
            return ()
        return kept.documents if kept else ()

    async def _at_most(self, provider: Provider, delivery: Delivery, age: timedelta) -> _Kept | None:
        source = provider.scheme.key_source if provider.scheme else None
        if source is None:
            return None
        api_key = await self.secrets.newest(provider.api_key) if provider.api_key else ""
        request = _request(source, delivery, api_key)
        name = _name_of(request)
        kept = self._fresh(name, age)
        if kept is None:
            async with self._locks.setdefault(provider.name, asyncio.Lock()):
                kept = self._fresh(name, age) or await self._fetch(provider, request, name)
        return kept

    def _fresh(self, name: bytes, age: timedelta) -> _Kept | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept.away or not kept.documents:
            age = INTERVAL
        return kept if self.clock.now() - kept.tried_at < age else None

    async def _fetch(self, provider: Provider, request: HttpRequest, name: bytes) -> _Kept:
        now, known = self.clock.now(), self._kept.get(name)
        at_hand = _Kept(
            documents=known.documents if known else (),
            heard_at=known.heard_at if known else now,
            tried_at=now,
            away=True,
        )
        if not at_hand.documents and not self._may_ask(provider, now):
            _log.warning("keys.too_many_requests", extra={"provider": provider.name})
            return at_hand
        documents = await self._ask(provider, request)
        serves = at_hand.documents and now - at_hand.heard_at < LONGEST_LIFETIME
        if documents is None or (not documents and serves):
            heard = at_hand
        else:
            heard = _Kept(documents=documents, heard_at=now, tried_at=now)
        self._kept[name] = heard
        if len(self._kept) > MOST_DOCUMENTS:
            kept = self._kept
            del kept[min(kept, key=lambda one: (bool(kept[one].documents), kept[one].tried_at))]
        return heard

    def _may_ask(self, provider: Provider, now: datetime) -> bool:
        sent_at = self._sent_at.setdefault(provider.name, deque())
        while sent_at and now - sent_at[0] >= INTERVAL:
            sent_at.popleft()
        if len(sent_at) >= MOST_REQUESTS:
            return False
        sent_at.append(now)
        return True

    async def _ask(self, provider: Provider, request: HttpRequest) -> tuple[bytes, ...] | None:
        """Ask once; nothing if the answer says nothing of keys."""
        try:
            answer = await self.sender.send(request, budget=BUDGET)
        except (NotSent, AnswerLost) as error:
            _log.warning("keys.away", extra={"provider": provider.name, "error": type(error).__name__})
            return None
        if answer.status == 200 and len(answer.body) <= MAX_BYTES:
            return (answer.body,)
        _log.warning("keys.not_given", extra={"provider": provider.name, "status": answer.status})
        return () if answer.status in _NO_SUCH_KEY else None


def _request(source: KeySource, delivery: Delivery, api_key: str) -> HttpRequest:
    request = source.request(delivery, api_key)
    if not request.url.startswith("https://") or not source.address.fullmatch(request.url):
        raise NotVerified(Reason.UNTRUSTED_KEY)
    return request


def _name_of(request: HttpRequest) -> bytes:
    return hashlib.sha256(f"{request.method} {request.url} ".encode() + request.body).digest()
