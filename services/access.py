"""What our own requests carry: a provider's API key, or the access token that the key is exchanged for.

An access token is kept in memory until shortly before its end. Who needs one while an exchange is under way
waits for the same one. Neither keys nor tokens are ever logged.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from services.errors import AnswerLost, NotSent, NotUnderstood, OperatorError, Unavailable
from services.models import HttpAnswer
from services.ports import Clock, HttpSender
from services.providers.base import Access, AccessToken, Provider
from services.secrets import Secrets

MARGIN = timedelta(minutes=1)
"""How long before its end a token is used no more: a request takes time, and clocks differ."""
MAX_LIFETIME = timedelta(days=1)
REST = timedelta(seconds=10)
"""How long a token that was just given, or a key that was just refused, is not exchanged anew."""
PASSING = frozenset({408, 425, 429})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A token, or None where the key was refused."""

    api_key: str = field(repr=False)
    token: str | None = field(repr=False)
    since: datetime
    until: datetime


@dataclass(slots=True, kw_only=True)
class Credentials:
    """The API keys and access tokens of this process."""

    secrets: Secrets
    sender: HttpSender
    clock: Clock
    _kept: dict[str, _Kept] = field(default_factory=dict, repr=False)
    _exchanges: dict[str, asyncio.Task[str]] = field(default_factory=dict, repr=False)

    async def current(self, provider: Provider, *, budget: timedelta) -> tuple[str, timedelta]:
        """Return what a request carries, and what is left of its budget once that is had.

        Raises NotSent if no access token could be had now; OperatorError if the key is missing or refused;
        Unavailable if the vault is away.
        """
        if provider.api_key is None:
            return "", budget
        api_key = await self.secrets.newest(provider.api_key)
        if provider.access is None:
            return api_key, budget
        began = self.clock.now()
        kept = self._kept.get(provider.name)
        if kept and kept.api_key == api_key and began < kept.until:
            if kept.token is None:
                raise _refused(provider)
            return kept.token, budget
        exchange = self._exchanges.get(provider.name)
        if exchange is None:
            exchange = asyncio.create_task(self._exchange(provider, provider.access, api_key, budget))
            self._exchanges[provider.name] = exchange
            exchange.add_done_callback(lambda _: self._exchanges.pop(provider.name))
        # Shielded: who gives up waiting must not take the token from all others.
        token = await asyncio.shield(exchange)
        return token, budget - (self.clock.now() - began)

    async def refused(self, provider: Provider, used: str) -> None:
        """Note that the provider refused what a request carried: the next one carries something fresh."""
        if provider.access is not None:
            kept = self._kept.get(provider.name)
            if kept and kept.token == used and self.clock.now() - kept.since >= REST:
                del self._kept[provider.name]
        elif provider.api_key is not None:
            await self._refresh(provider.api_key)

    async def _exchange(self, provider: Provider, access: Access, api_key: str, budget: timedelta) -> str:
        now = self.clock.now()
        try:
            answer = await self.sender.send(access.request(provider.api_url, api_key, now), budget=budget)
        except (NotSent, AnswerLost) as error:
            _log.warning("access.not_asked", extra={"provider": provider.name, "error": type(error).__name__})
            raise NotSent("no access token could be asked for") from error
        named = {"provider": provider.name, "status": answer.status}
        if answer.status in PASSING or answer.status >= 500:
            _log.warning("access.put_off", extra=named)
            raise NotSent(
                "no access token is given now", retry_after=read_retry_after(answer, self.clock.now())
            )
        if not 200 <= answer.status < 300:
            _log.error("access.refused", extra=named)
            self._kept[provider.name] = _Kept(api_key=api_key, token=None, since=now, until=now + REST)
            if provider.api_key:
                await self._refresh(provider.api_key)
            raise _refused(provider)
        try:
            token = access.read(answer)
        except NotUnderstood:
            _log.warning("access.not_understood", extra=named)
            raise NotSent("what should be an access token could not be read") from None
        _log.info("access.given", extra=named)
        self._kept[provider.name] = _Kept(
            api_key=api_key, token=token.text, since=now, until=now + _usable_for(token)
        )
        return token.text

    async def _refresh(self, name: str) -> None:
        try:
            await self.secrets.refreshed(name)
        except (Unavailable, OperatorError):
            _log.warning("secret.not_refreshed", extra={"secret": name})


def _refused(provider: Provider) -> OperatorError:
    return OperatorError(
        f"{provider.name} gives no access token for secret {provider.api_key}: set the one that it gave you"
    )


def _usable_for(token: AccessToken) -> timedelta:
    lifetime = min(token.lifetime, MAX_LIFETIME)
    return lifetime - min(MARGIN, lifetime / 4)


def read_retry_after(answer: HttpAnswer, now: datetime) -> timedelta | None:
    """Read Retry-After, seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return timedelta(seconds=int(value))
    try:
        moment = parsedate_to_datetime(value)
        return max(moment.replace(tzinfo=moment.tzinfo or UTC) - now, timedelta(0))
    except (ValueError, OverflowError):
        return None
