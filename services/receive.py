"""Takes a delivery: checks it, reads it, publishes it, and only then says thanks.

handshake → method → size → length → token → signature and age → signed handshake → read → publish → answer

It reads no job: a callback that is faster than its start's own answer is nothing special.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from services import tokens
from services.errors import (
    CallerError,
    NotUnderstood,
    NotVerified,
    OperatorError,
    ProviderError,
    Reason,
    Unavailable,
    Why,
    stack_of,
)
from services.kept import DELIVERIES, Kept, write_kept
from services.keys import Keys
from services.messages import callback_event, unrecognised_event
from services.models import Callback, Delivery, HttpRequest
from services.outbox import Outbox
from services.ports import Clock, HttpSender, PayloadStore
from services.providers.base import (
    CallbackAddress,
    Completion,
    Handshake,
    Handshaken,
    Provider,
    WebhookAnswer,
)
from services.refusals import (
    ON_THE_WAY,
    SHARED_SECRETS,
    Finding,
    Known,
    Limits,
    Refusals,
    find_why,
    plain_why,
)
from services.secrets import Secrets
from services.senders import is_allowed
from services.signatures.scheme import Scheme

HANDSHAKES = "handshakes/"
HANDED_OVER_A_DAY = 10
CONFIRM_BUDGET = timedelta(seconds=5)
PRUNE_BATCH = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveWebhook:
    """The use case behind /api/webhooks/{provider}[/{token}]."""

    providers: Mapping[str, Provider]
    secrets: Secrets
    keys: Keys
    outbox: Outbox
    payloads: PayloadStore
    sender: HttpSender
    clock: Clock
    max_bytes: int
    keep_all: bool = False
    keep_for: timedelta = timedelta(days=30)
    hops: int = 1
    refusals: Refusals = field(default_factory=Refusals)

    async def __call__(
        self,
        provider_name: str,
        token_text: str | None,
        delivery: Delivery,
        *,
        traceparent: str | None = None,
    ) -> WebhookAnswer:
        """Return what the sender wants to hear; raises CallerError, NotVerified or Unavailable."""
        provider = self.providers.get(provider_name)
        if provider is None or provider.completion is not Completion.WEBHOOK:
            raise CallerError(404, "unknown-provider", "no such provider sends webhooks here")
        try:
            return await self._take(provider, token_text, delivery, traceparent)
        except NotVerified as error:
            self._tell_of(provider, delivery, error)
            if provider.handshake and provider.handshake.refusal:
                return provider.handshake.refusal
            raise

    def read_again(self, kept: Kept) -> tuple[Callback, ...]:
        """Read a kept delivery with today's code; raises NotUnderstood, or OperatorError if nobody can."""
        provider = self.providers.get(kept.provider)
        if provider is None:
            raise OperatorError(f"{kept.provider} is not in PROVIDERS, so nobody can read its deliveries")
        return _callbacks(provider, kept.delivery, kept.job_id)

    async def replay(self, kept: Kept) -> tuple[Callback, ...]:
        """Publish what a kept delivery says to today's code, under the ids that it had or would have had.

        Its signature was verified before it was kept, and is not again: its secret may have changed since,
        and its age has. Raises what `read_again` does, and Unavailable.
        """
        callbacks = self.read_again(kept)
        await self._publish(self.providers[kept.provider], kept.delivery, callbacks, kept.job_id or "", None)
        return callbacks

    async def check(
        self, provider: Provider, token_text: str | None, delivery: Delivery, *, addressed: bool = True
    ) -> tokens.Token | None:
        """Check a delivery's form, token and signature; raises CallerError, NotVerified or Unavailable.

        One that is not `addressed` was kept without the address it came to: no token can be asked for.
        """
        self._check_form(provider, delivery, self._most_bytes(provider, token_text))
        token = await self._check_token(provider, token_text) if addressed else None
        await self._check_signature(provider, delivery)
        return token

    def find_why(
        self,
        provider: Provider,
        delivery: Delivery,
        refused: NotVerified,
        *,
        limits: Limits = ON_THE_WAY,
        schemes: Mapping[str, Scheme] = SHARED_SECRETS,
        more_secrets: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> Finding:
        """Find out why a delivery was refused, with the secrets and keys at hand."""
        at_hand = self.secrets.at_hand
        known = Known(
            scheme=provider.scheme,
            secrets=at_hand(provider.signing_secret) if provider.signing_secret else (),
            keys=self.keys.at_hand(provider, delivery),
            others={
                name: (one.scheme, at_hand(one.signing_secret) if one.signing_secret else ())
                for name, one in self.providers.items()
                if one.name != provider.name and one.scheme
            },
            more_secrets=more_secrets,
            schemes=schemes,
        )
        return find_why(refused, delivery, known, self.clock.now(), limits)

    async def prune(self) -> int:
        """Delete what was kept of deliveries and handshakes and is past its time; returns how many."""
        return await self._prune(DELIVERIES) + await self._prune(HANDSHAKES)

    async def _take(
        self, provider: Provider, token_text: str | None, delivery: Delivery, traceparent: str | None
    ) -> WebhookAnswer:
        if provider.senders and not is_allowed(delivery.headers, provider.senders, self.hops):
            raise NotVerified(Reason.WRONG_SENDER)
        handshake = provider.handshake
        if handshake and not handshake.signed:
            shaken = await self._shake(provider, handshake, delivery)
            if shaken:
                token = await self._read_token(provider, token_text) if token_text else None
                return await self._complete(provider, shaken, token)
        token = await self.check(provider, token_text, delivery)
        self.refusals.end(provider.name)
        if handshake and handshake.signed:
            shaken = await self._shake(provider, handshake, delivery)
            if shaken:
                return await self._complete(provider, shaken, token)
        await self._read(provider, _without(token_text, delivery), token, traceparent)
        return provider.answer

    def _tell_of(self, provider: Provider, delivery: Delivery, refused: NotVerified) -> None:
        found = plain_why(refused, delivery) or Finding(why=Why.NOT_TRIED)
        if found.why is Why.NOT_TRIED and self.refusals.may_look(provider.name, self.clock.now()):
            try:
                found = self.find_why(provider, delivery, refused)
            except Exception as error:  # noqa: BLE001 - a bug of ours must not change the answer
                _log.error("refusals.failed", extra={"provider": provider.name, "stack": stack_of(error)})
        told = {"provider": provider.name, "why": found.why.value, "detail": found.detail}
        _log.warning("delivery.refused", extra={**told, "reason": refused.reason.value})
        if count := self.refusals.count(provider.name):
            _log.warning("refusals.in_a_row", extra={**told, "count": count})

    async def _read(
        self,
        provider: Provider,
        delivery: Delivery,
        token: tokens.Token | None,
        traceparent: str | None,
    ) -> None:
        address = token.job_id or "" if token else ""
        traceparent = token.traceparent if token and token.traceparent else traceparent
        try:
            callbacks = _callbacks(provider, delivery, token.job_id if token else None)
        except NotUnderstood as error:
            await self._publish_unrecognised(provider, delivery, str(error), address, traceparent)
        else:
            if self.keep_all:
                await self._keep_if_possible(provider, delivery, address)
            await self._publish(provider, delivery, callbacks, address, traceparent)
            _log.info("delivery.taken", extra={"provider": provider.name, "callbacks": len(callbacks)})

    async def _shake(self, provider: Provider, handshake: Handshake, delivery: Delivery) -> Handshaken | None:
        if delivery.method not in handshake.methods:
            return None
        name = handshake_secret(provider, handshake)
        if not name:
            return handshake.answer(delivery, ())
        try:
            return handshake.answer(delivery, await self.secrets.valid(name))
        except NotVerified:
            return handshake.answer(delivery, await self.secrets.refreshed(name))

    async def _complete(
        self, provider: Provider, shaken: Handshaken, token: tokens.Token | None
    ) -> WebhookAnswer:
        if shaken.confirm:
            await self._confirm(provider, shaken.confirm)
        about = {"provider": provider.name}
        if shaken.handed_over:
            about["secret"] = provider.signing_secret or ""
            about["kept"] = await self._keep_handed_over(provider, shaken.handed_over, token)
            about["trust"] = "the address had our token" if token else "none: anybody can have sent it"
        if shaken.step:
            _log.warning("handshake.step", extra={**about, "step": shaken.step})
        _log.info("handshake.answered", extra={"provider": provider.name})
        return shaken.answer

    async def _confirm(self, provider: Provider, request: HttpRequest) -> None:
        try:
            status = (await self.sender.send(request, budget=CONFIRM_BUDGET)).status
        except ProviderError:
            status = 0
        if not 200 <= status < 300:
            _log.warning("handshake.not_confirmed", extra={"provider": provider.name, "status": status})
            raise Unavailable("the handshake could not be confirmed")

    async def _keep_handed_over(self, provider: Provider, secret: str, token: tokens.Token | None) -> str:
        """Keep what the operator needs and no log may show; without our token only a few, for anybody can."""
        now = self.clock.now()
        prefix = f"{HANDSHAKES}{now:%Y-%m-%d}/{provider.name}-"
        name = f"{prefix}{hashlib.sha256(secret.encode()).hexdigest()[:16]}.json"
        if not token:
            kept = await self.payloads.names(prefix, HANDED_OVER_A_DAY)
            if name not in kept and len(kept) == HANDED_OVER_A_DAY:
                raise Unavailable("too many secrets were handed over today")
        document = {"provider": provider.name, "secret": secret, "received_at": now.isoformat()}
        return await self.payloads.put(name, json.dumps(document).encode())

    async def _prune(self, prefix: str) -> int:
        last = (self.clock.now() - self.keep_for).strftime("%Y-%m-%d")
        deleted = 0
        while True:
            names = await self.payloads.names(prefix, PRUNE_BATCH)
            old = [name for name in names if name.removeprefix(prefix)[:10] < last]
            await asyncio.gather(*map(self.payloads.delete, old))
            deleted += len(old)
            if len(old) < PRUNE_BATCH:
                return deleted

    def _most_bytes(self, provider: Provider, token_text: str | None) -> int:
        """Grant a provider's own limit at an address with a token: one that is not ours is refused next."""
        return max(self.max_bytes, provider.max_bytes or 0) if token_text else self.max_bytes

    def _check_form(self, provider: Provider, delivery: Delivery, most_bytes: int) -> None:
        if delivery.method != "POST":
            methods = provider.handshake.methods if provider.handshake else frozenset()
            if delivery.method in methods:
                raise CallerError(400, "no-handshake", "this is no handshake of this provider")
            allow = ", ".join(sorted({"POST", *methods}))
            raise CallerError(405, "method-not-allowed", "webhooks are sent by POST", allow=allow)
        if len(delivery.body) > most_bytes:
            raise CallerError(413, "body-too-large", f"a webhook has at most {most_bytes} bytes here")
        if not delivery.body and "content-length" not in delivery.headers:
            # https://www.rfc-editor.org/rfc/rfc9110#status.411
            _log.warning("delivery.without_length", extra={"provider": provider.name})
            raise CallerError(
                411,
                "length-required",
                "the request came without Content-Length, and chunked bodies do not reach a function: "
                "send the body with its length",
            )

    async def _check_token(self, provider: Provider, text: str | None) -> tokens.Token | None:
        if text:
            return await self._read_token(provider, text)
        if needs_token(provider):
            raise NotVerified(Reason.NO_TOKEN)
        return None

    async def _read_token(self, provider: Provider, text: str) -> tokens.Token:
        now = self.clock.now()
        try:
            token = tokens.read(
                text, await self.secrets.valid(tokens.KEY_NAME), provider=provider.name, now=now
            )
        except NotVerified as error:
            if error.reason is not Reason.WRONG_TOKEN:
                raise
            token = tokens.read(
                text, await self.secrets.refreshed(tokens.KEY_NAME), provider=provider.name, now=now
            )
        if token.job_id is None and provider.callback_address is CallbackAddress.PER_JOB:
            raise NotVerified(Reason.WRONG_TOKEN)
        return token

    async def _check_signature(self, provider: Provider, delivery: Delivery) -> None:
        scheme, name = provider.scheme, provider.signing_secret
        if scheme is None:
            return
        now = self.clock.now()
        secrets = await self.secrets.valid(name) if name else ()
        try:
            await self._verify(provider, scheme, delivery, secrets, now, self.keys.find)
        except NotVerified as error:
            if error.reason not in (Reason.WRONG_SIGNATURE, Reason.UNKNOWN_KEY):
                raise
            if name:
                secrets = await self.secrets.refreshed(name)
            await self._verify(provider, scheme, delivery, secrets, now, self.keys.refreshed)

    async def _verify(
        self,
        provider: Provider,
        scheme: Scheme,
        delivery: Delivery,
        secrets: Sequence[str],
        now: datetime,
        find: Callable[[Provider, Delivery], Awaitable[Sequence[bytes]]],
    ) -> None:
        """Verify, and ask for keys only where nothing else is wrong: each new name costs a request."""
        try:
            scheme.verify(delivery, secrets, now)
        except NotVerified as error:
            if error.reason is not Reason.UNKNOWN_KEY:
                raise
            scheme.verify(delivery, secrets, now, await find(provider, delivery))

    async def _publish(
        self,
        provider: Provider,
        delivery: Delivery,
        callbacks: Sequence[Callback],
        address: str,
        traceparent: str | None,
    ) -> None:
        events = (
            callback_event(
                provider.name,
                callback,
                address=address,
                received_at=delivery.received_at,
                traceparent=traceparent,
            )
            for callback in callbacks
        )
        fates = await asyncio.gather(*map(self.outbox.publish, events), return_exceptions=True)
        for fate in fates:
            if fate is not None:
                raise fate

    async def _publish_unrecognised(
        self, provider: Provider, delivery: Delivery, reason: str, address: str, traceparent: str | None
    ) -> None:
        kept = await self._keep(provider, delivery, address)
        _log.warning("delivery.unrecognised", extra={"provider": provider.name, "reason": reason})
        await self.outbox.publish(
            unrecognised_event(
                provider.name, delivery, reason=reason, kept=kept, address=address, traceparent=traceparent
            )
        )

    async def _keep_if_possible(self, provider: Provider, delivery: Delivery, address: str) -> None:
        try:
            await self._keep(provider, delivery, address)
        except Unavailable:
            _log.warning("delivery.not_kept", extra={"provider": provider.name})

    async def _keep(self, provider: Provider, delivery: Delivery, address: str) -> str:
        name = provider.signing_secret
        secrets = await self.secrets.valid(name) if name else ()
        kept = Kept(provider=provider.name, job_id=address or None, delivery=delivery)
        return await self.payloads.put(kept.name, write_kept(kept, secrets))


def needs_token(provider: Provider) -> bool:
    """Tell whether a callback's signature alone proves too little, or there is none."""
    return provider.scheme is None or provider.scheme.binds_nothing


def handshake_secret(provider: Provider, handshake: Handshake) -> str:
    """Name the secret that a handshake is answered with; "" for one that hands it over, or needs none."""
    if handshake.secret:
        return f"{provider.name.replace('_', '-')}-{handshake.secret}"
    return "" if handshake.hands_over else provider.signing_secret or ""


def _without(token_text: str | None, delivery: Delivery) -> Delivery:
    """Take out headers that repeat the address's token: what is read may be kept, and outlive no secret."""
    if not token_text:
        return delivery
    headers = {name: value for name, value in delivery.headers.items() if token_text not in value}
    return replace(delivery, headers=headers)


def _callbacks(provider: Provider, delivery: Delivery, job_id: str | None) -> tuple[Callback, ...]:
    """Read a delivery; raises NotUnderstood, for a bug of ours must not lose what a provider said."""
    try:
        return tuple(_bind(callback, job_id) for callback in provider.read(delivery))
    except NotUnderstood:
        raise
    except Exception as error:  # noqa: BLE001 - it goes on as what nobody understands
        _log.error("delivery.not_read", extra={"provider": provider.name, "stack": stack_of(error)})
        raise NotUnderstood("reading it failed: see the log") from None


def _bind(callback: Callback, job_id: str | None) -> Callback:
    """Hold a callback to the job that its address is for, if it is for one."""
    if job_id is None:
        return callback
    if callback.job_id is not None and callback.job_id != job_id:
        raise NotUnderstood("the delivery names another job than its address is for")
    return replace(callback, job_id=job_id)
