"""What the broker refuses, in the words by which Service Bus clients tell errors apart."""

from enum import StrEnum


class Condition(StrEnum):
    """AMQP error conditions as Service Bus uses them.

    https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot
    """

    ARGUMENT_ERROR = "com.microsoft:argument-error"
    DECODE_ERROR = "amqp:decode-error"
    ENTITY_ALREADY_EXISTS = "com.microsoft:entity-already-exists"
    INTERNAL_ERROR = "amqp:internal-error"
    MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost"
    MESSAGE_NOT_FOUND = "com.microsoft:message-not-found"
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
    NOT_ALLOWED = "amqp:not-allowed"
    NOT_FOUND = "amqp:not-found"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    SERVER_BUSY = "com.microsoft:server-busy"
    SESSION_CANNOT_BE_LOCKED = "com.microsoft:session-cannot-be-locked"
    SESSION_LOCK_LOST = "com.microsoft:session-lock-lost"
    SESSION_NOT_FOUND = "com.microsoft:session-not-found"
    TIMEOUT = "com.microsoft:timeout"
    UNAUTHORIZED = "amqp:unauthorized-access"


class RefusedError(Exception):
    """The client asked for something that Service Bus refuses; nothing has changed."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description


class MalformedError(Exception):
    """The bytes are not what the AMQP 1.0 type system allows in this place."""


class StalledError(Exception):
    """A fault holds this up; nothing has changed, and it is tried again when the faults do."""
