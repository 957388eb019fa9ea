"""A message as it leaves the broker: with the header and the annotations by which SDKs know it.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide#message-annotations
"""

from proton import int32, symbol, timestamp

from .broker import Message, State
from .message import Value


def encode(message: Message) -> bytes:
    """Encode a message for a receiver; one without a lock is only shown, or is given away."""
    annotations: dict[Value, Value] = {
        symbol("x-opt-sequence-number"): message.sequence,
        symbol("x-opt-enqueued-time"): timestamp(message.enqueued_at),
        symbol("x-opt-enqueue-sequence-number"): message.origin,
        symbol("x-opt-message-state"): int32(message.state),
    }
    if message.state is State.SCHEDULED and message.due_at is not None:
        annotations[symbol("x-opt-scheduled-enqueue-time")] = timestamp(message.due_at)
    if message.lock is not None and message.locked_until:
        annotations[symbol("x-opt-locked-until")] = timestamp(message.locked_until)
    if message.dead_letter_source is not None:
        annotations[symbol("x-opt-deadletter-source")] = message.dead_letter_source
    return message.content.encode(
        ttl=message.ttl, delivery_count=message.delivery_count, annotations=annotations
    )
