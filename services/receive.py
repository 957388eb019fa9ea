"""Takes a delivery: checks it, reads it, publishes it, and only then says thanks.

method → size → length → token → signature and age → read → publish → answer

It reads no job: a callback that is faster than its start's own answer is nothing special.
"""

import asyncio
import base64
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services import tokens
from services.errors import CallerError, NotUnderstood, NotVerified, Reason, Unavailable, stack_of
from services.messages import callback_event, delivery_id, unrecognised_event
from services.models import Callback, Delivery
from services.outbox import Outbox
from services.ports import Clock, PayloadStore
from services.providers.base import Completion, Provider, WebhookAnswer
from services.secrets import Secrets

DELIVERIES = "deliveries/"
PRUNE_BATCH = 200
_PRIVATE_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-functions-key"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveWebhook:
    """The use case behind /api/webhooks/{provider}[/{token}]."""

    providers: Mapping[str, Provider]
    secrets: Secrets
    outbox: Outbox
    payloads: PayloadStore
    clock: Clock
    max_bytes: int
    keep_all: bool = False
    keep_for: timedelta = timedelta(days=30)

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
        self._check_form(provider, delivery)
        try:
            token = await self._check_token(provider, token_text)
            await self._check_signature(provider, delivery)
        except NotVerified as error:
            _log.warning("delivery.refused", extra={"provider": provider.name, "reason": error.reason.value})
            raise
        address = token.job_id if token else ""
        traceparent = token.traceparent if token and token.traceparent else traceparent
        try:
            callbacks = tuple(_bind(callback, token) for callback in provider.read(delivery))
        except NotUnderstood as error:
            await self._publish_unrecognised(provider, delivery, str(error), address, traceparent)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose what a provider said
            _log.error("delivery.not_read", extra={"provider": provider.name, "stack": stack_of(error)})
            reason = "reading it failed: see the log"
            await self._publish_unrecognised(provider, delivery, reason, address, traceparent)
        else:
            if self.keep_all:
                await self._keep_if_possible(provider, delivery, address)
            await self._publish(provider, delivery, callbacks, address, traceparent)
            _log.info("delivery.taken", extra={"provider": provider.name, "callbacks": len(callbacks)})
        return provider.answer

    async def prune(self) -> int:
        """Delete kept deliveries that are past their time; returns how many."""
        last = (self.clock.now() - self.keep_for).strftime("%Y-%m-%d")
        deleted = 0
        while True:
            names = await self.payloads.names(DELIVERIES, PRUNE_BATCH)
            old = [name for name in names if name.removeprefix(DELIVERIES)[:10] < last]
            await asyncio.gather(*map(self.payloads.delete, old))
            deleted += len(old)
            if len(old) < PRUNE_BATCH:
                return deleted

    def _check_form(self, provider: Provider, delivery: Delivery) -> None:
        if delivery.method != "POST":
            raise CallerError(405, "method-not-allowed", "webhooks are sent by POST")
        if len(delivery.body) > self.max_bytes:
            raise CallerError(413, "body-too-large", f"a webhook has at most {self.max_bytes} bytes here")
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
        if provider.scheme is None:
            raise NotVerified(Reason.NO_TOKEN)
        return None

    async def _read_token(self, provider: Provider, text: str) -> tokens.Token:
        now = self.clock.now()
        try:
            return tokens.read(
                text, await self.secrets.valid(tokens.KEY_NAME), provider=provider.name, now=now
            )
        except NotVerified as error:
            if error.reason is not Reason.WRONG_TOKEN:
                raise
            return tokens.read(
                text, await self.secrets.refreshed(tokens.KEY_NAME), provider=provider.name, now=now
            )

    async def _check_signature(self, provider: Provider, delivery: Delivery) -> None:
        if provider.scheme is None or provider.signing_secret is None:
            return
        now, name = self.clock.now(), provider.signing_secret
        try:
            provider.scheme.verify(delivery, await self.secrets.valid(name), now)
        except NotVerified as error:
            if error.reason is not Reason.WRONG_SIGNATURE:
                raise
            provider.scheme.verify(delivery, await self.secrets.refreshed(name), now)

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
        document = {
            "provider": provider.name,
            "job_id": address or None,
            "received_at": delivery.received_at.isoformat(),
            "method": delivery.method,
            "headers": {k: v for k, v in delivery.headers.items() if k not in _PRIVATE_HEADERS},
            "body": base64.b64encode(delivery.body).decode(),
        }
        day = delivery.received_at.strftime("%Y-%m-%d")
        name = f"{DELIVERIES}{day}/{delivery_id(provider.name, delivery, address)}.json"
        return await self.payloads.put(name, json.dumps(document).encode())


def _bind(callback: Callback, token: tokens.Token | None) -> Callback:
    """Hold a callback to the job that its address is for."""
    if token is None:
        return callback
    if callback.job_id is not None and callback.job_id != token.job_id:
        raise NotUnderstood("the delivery names another job than its address is for")
    return replace(callback, job_id=token.job_id)
