"""Publishes events, and keeps what Service Bus cannot take now until it can.

    publish ──► topic
       └ bus away ──► spool (PayloadStore) ──drain, every minute──► topic, under the same message id

An event is safe when `publish` returns. If neither the bus nor the spool takes it, Unavailable says so.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from services.errors import Unavailable
from services.messages import MAX_DATA_BYTES, Event, data_name, event_data, event_message
from services.models import Message
from services.ports import Clock, MessageBus, PayloadStore

SPOOL = "spool/"
DRAIN_BATCH = 100

_log = logging.getLogger(__name__)
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """The one way out to the topic."""

    bus: MessageBus
    payloads: PayloadStore
    clock: Clock

    async def publish(self, event: Event, *, dataref: str | None = None) -> None:
        """Hand an event to the bus or the spool; raises Unavailable if neither takes it."""
        if dataref is None:
            data = event_data(event)
            if len(data) > MAX_DATA_BYTES:
                dataref = await self.payloads.put(data_name(event.id), data)
        message = event_message(event, dataref=dataref)
        try:
            await self.bus.publish(message)
        except Unavailable:
            await self._spool(message)

    async def drain(self) -> int:
        """Publish what was spooled, the oldest batch first, until none is left or the bus refuses."""
        sent = 0
        while names := await self.payloads.names(SPOOL, DRAIN_BATCH):
            gone = await asyncio.gather(*map(self._send_spooled, names))
            sent += sum(gone)
            if not all(gone):
                _log.warning("spool.waiting", extra={"sent": sent})
                break
        return sent

    async def _send_spooled(self, name: str) -> bool:
        try:
            document = await self.payloads.get(name)
            if document is not None:
                await self._publish_spooled(name, document)
                await self.payloads.delete(name)
        except Unavailable:
            return False
        return True

    async def _publish_spooled(self, name: str, document: bytes) -> None:
        try:
            await self.bus.publish(_MESSAGE.validate_json(document))
        except ValueError as error:
            _log.error("spool.unreadable", extra={"spooled": name, "error": type(error).__name__})
            await self.payloads.put(f"unreadable/{name}", document)

    async def _spool(self, message: Message) -> None:
        moment = self.clock.now().strftime("%Y%m%dT%H%M%S.%f")
        await self.payloads.put(f"{SPOOL}{moment}-{message.message_id}", _MESSAGE.dump_json(message))
        _log.warning("event.spooled", extra=_named(message))


def _named(message: Message) -> Mapping[str, str]:
    return {"message_id": message.message_id, "subject": message.subject}
