"""Requests to `$cbs` and `$management`: a message in, a status and a body out.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from proton import UNDESCRIBED, Array, Data, timestamp

from . import delivery, rules
from .broker import MAX_MESSAGE_BYTES, Broker, Mailbox, Session, check_kind
from .errors import Condition, MalformedError, RefusedError
from .message import Value, decode, identified

_MANAGEMENT: Final = "/$management"
_MOST_PEEKED: Final = 250
_GIVEN_AWAY: Final = 0
# By this time an SDK asks for all sessions: .NET's DateTime.MaxValue, as its AMQP library encodes it.
# https://github.com/Azure/azure-sdk-for-python/blob/main/sdk/servicebus/azure-servicebus/azure/servicebus/_session_browser.py
_ALL_SESSIONS: Final = 253_402_300_800_000
_TOKEN_TYPES: Final = ("servicebus.windows.net:sastoken", "jwt", "amqp:jwt", "amqp:swt")
_STATUS: Final[Mapping[str, int]] = {
    Condition.ARGUMENT_ERROR: 400,
    Condition.DECODE_ERROR: 400,
    Condition.ENTITY_ALREADY_EXISTS: 409,
    Condition.MESSAGE_LOCK_LOST: 410,
    Condition.MESSAGE_NOT_FOUND: 404,
    Condition.MESSAGE_SIZE_EXCEEDED: 413,
    Condition.NOT_ALLOWED: 405,
    Condition.NOT_FOUND: 404,
    Condition.NOT_IMPLEMENTED: 501,
    Condition.SERVER_BUSY: 503,
    Condition.SESSION_LOCK_LOST: 410,
}
# What a list that is empty is told as, with status 204.
_EMPTY: Final = {
    "messages": Condition.MESSAGE_NOT_FOUND,
    "rules": None,
    "sessions-ids": Condition.SESSION_NOT_FOUND,
}
_NO_LOCK: Final = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer; the status is one of HTTP's."""

    status: int
    description: str
    condition: str | None = None
    body: Value = None


def path_of(address: str) -> str:
    """Take the entity's path out of an address, which may be a whole URL."""
    if "://" in address:
        address = address.split("://", 1)[1].partition("/")[2]
    return address.strip("/")


def entity_of(address: str) -> str:
    """Take the entity's path out of the address of its `$management` node, or of the entity itself."""
    return address[: -len(_MANAGEMENT)] if address.lower().endswith(_MANAGEMENT) else address


def put_token(broker: Broker, properties: Mapping[str, Value], body: Value) -> Reply:
    """Answer a request to `$cbs`: any token will do for an address that exists."""
    if properties.get("operation") != "put-token":
        return Reply(
            status=501, description="The only operation is put-token.", condition=Condition.NOT_IMPLEMENTED
        )
    name = properties.get("name")
    if properties.get("type") not in _TOKEN_TYPES or not isinstance(name, str) or not name:
        return _bad_request("A put-token request needs a known token type and the name of what it opens.")
    if not isinstance(body, str) or not body:
        return _bad_request("The body of a put-token request is the token, a string.")
    address = entity_of(path_of(name))
    try:
        if address:
            broker.check_address(address)
    except RefusedError as error:
        return refused(error)
    return Reply(status=202, description="Accepted")


def refused(error: RefusedError) -> Reply:
    """Answer that a request was refused, and why."""
    return Reply(
        status=_STATUS.get(error.condition, 500), description=error.description, condition=error.condition
    )


def respond(
    broker: Broker,
    address: str,
    properties: Mapping[str, Value],
    body: Value,
    now: int,
    session_locks: Mapping[str, UUID],
) -> Reply:
    """Answer a request to the `$management` node of an address.

    `session_locks` are those that the client holds there, by session id.
    """
    name = properties.get("operation")
    operation = _OPERATIONS.get(name) if isinstance(name, str) else None
    if operation is None:
        return Reply(
            status=501,
            description=f"The operation {str(name)[:80]!r} is not supported.",
            condition=Condition.NOT_IMPLEMENTED,
        )
    if not isinstance(body, dict):
        return _bad_request("The body of a request is a map.")
    try:
        result = operation(
            _Asked(broker=broker, address=address, body=body, now=now, session_locks=session_locks)
        )
    except RefusedError as error:
        return refused(error)
    except MalformedError as error:
        return _bad_request(str(error))
    for name, condition in _EMPTY.items():
        if result is not None and result.get(name) == []:
            return Reply(status=204, description="No content", condition=condition)
    return Reply(status=200, description="OK", body=result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request, and the locks of the sessions that its client holds."""

    broker: Broker
    address: str
    body: Mapping[Value, Value]
    now: int
    session_locks: Mapping[str, UUID]

    @property
    def mailbox(self) -> Mailbox:
        """Find what can be received from at the address, or refuse."""
        return self.broker.mailbox(self.address)

    @property
    def session_id(self) -> str | None:
        """Read which session the request names, if any."""
        session_id = self.body.get("session-id")
        if not isinstance(session_id, str | None):
            raise MalformedError("'session-id' must be a string")
        return session_id

    def session(self) -> Session | None:
        """Find the session that the request names, and refuse if its client does not hold it.

        None if none is named; refuse if that does not fit what is at the address.
        """
        mailbox, session_id = self.mailbox, self.session_id
        check_kind(mailbox, of_session=session_id is not None)
        if session_id is None:
            return None
        return self.broker.session(mailbox, self.session_locks.get(session_id, _NO_LOCK), self.now)

    def session_lock(self) -> UUID:
        """Give the lock of that session; raise MalformedError if the request names none."""
        session = self.session()
        if session is None or session.lock is None:
            raise MalformedError("'session-id' must name a session")
        return session.lock


def _schedule(asked: _Asked) -> dict[str, Value]:
    contents = []
    for entry in _list(asked.body, "messages"):
        encoded = entry.get("message") if isinstance(entry, dict) else None
        if not isinstance(encoded, bytes):
            raise MalformedError("each entry of 'messages' has the encoded message as 'message'")
        if len(encoded) > MAX_MESSAGE_BYTES:
            raise RefusedError(
                Condition.MESSAGE_SIZE_EXCEEDED,
                f"The message (size:{len(encoded)} bytes) exceeds the limit ({MAX_MESSAGE_BYTES} bytes).",
            )
        contents.append(identified(decode(encoded)))
        if contents[-1].scheduled_for is None:
            raise MalformedError("a message to schedule says when, as x-opt-scheduled-enqueue-time")
    return {"sequence-numbers": _array(Data.LONG, asked.broker.send(asked.address, contents, asked.now))}


def _cancel(asked: _Asked) -> None:
    asked.broker.cancel(asked.address, _numbers(asked.body), asked.now)


def _renew(asked: _Asked) -> dict[str, Value]:
    ends = asked.broker.renew(asked.mailbox, _locks(asked.body), asked.now)
    return {"expirations": _array(Data.TIMESTAMP, map(timestamp, ends))}


def _peek(asked: _Asked) -> dict[str, Value]:
    first = _number(asked.body, "from-sequence-number")
    count = max(min(_number(asked.body, "message-count"), _MOST_PEEKED), 0)
    found: list[dict[str, Value]] = []
    size = 0
    for message in asked.broker.peek(asked.mailbox, first, count, asked.now, session_id=asked.session_id):
        encoded = delivery.encode(message)
        size += len(encoded)
        if found and size > MAX_MESSAGE_BYTES:
            break
        found.append({"message": encoded})
    return {"messages": found}


def _list_sessions(asked: _Asked) -> dict[str, Value]:
    after = asked.body.get("last-updated-time")
    if not isinstance(after, timestamp):
        raise MalformedError("'last-updated-time' must be a timestamp")
    noted_after = None if after >= _ALL_SESSIONS else int(after)
    page = _page(asked, asked.broker.session_ids(asked.mailbox, asked.now, noted_after=noted_after))
    return {"skip": asked.body["skip"], "sessions-ids": page and _array(Data.STRING, page)}


def _list_rules(asked: _Asked) -> dict[str, Value]:
    page = _page(asked, asked.broker.rules(asked.address))
    return {"rules": [{"rule-description": rules.describe(rule)} for rule in page]}


def _add_rule(asked: _Asked) -> None:
    asked.broker.add_rule(asked.address, rules.read(asked.body))


def _remove_rule(asked: _Asked) -> None:
    asked.broker.remove_rule(asked.address, rules.read_name(asked.body))


def _receive_deferred(asked: _Asked) -> dict[str, Value]:
    session = asked.session()
    remove = _number(asked.body, "receiver-settle-mode") == _GIVEN_AWAY
    found = asked.broker.take_deferred(
        asked.mailbox, _numbers(asked.body), asked.now, remove=remove, session=session
    )
    return {
        "messages": [
            {"message": delivery.encode(message)}
            | ({} if message.lock is None else {"lock-token": message.lock})
            for message in found
        ]
    }


def _settle(asked: _Asked) -> None:
    asked.session()  # refuses what is not its client's to settle
    broker, mailbox, body, now = asked.broker, asked.mailbox, asked.body, asked.now
    locks = _locks(body)
    changed = body.get("properties-to-modify")
    properties = {str(name): value for name, value in changed.items()} if isinstance(changed, dict) else None
    broker.check_locks(mailbox, locks, now)
    for lock in locks:
        match body.get("disposition-status"):
            case "completed":
                broker.complete(mailbox, lock, now)
            case "abandoned":
                broker.abandon(mailbox, lock, now, properties=properties)
            case "defered" | "deferred":
                broker.defer(mailbox, lock, now, properties=properties)
            case "suspended":
                reason, description = body.get("deadletter-reason"), body.get("deadletter-description")
                broker.dead_letter(
                    mailbox,
                    lock,
                    now,
                    reason=reason if isinstance(reason, str) else None,
                    description=description if isinstance(description, str) else None,
                    properties=properties,
                )
            case _:
                raise MalformedError(
                    "'disposition-status' is none of completed, abandoned, defered, suspended"
                )


def _renew_session(asked: _Asked) -> dict[str, Value]:
    ends = asked.broker.renew_session(asked.mailbox, asked.session_lock(), asked.now)
    return {"expiration": timestamp(ends)}


def _get_state(asked: _Asked) -> dict[str, Value]:
    return {"session-state": asked.broker.session(asked.mailbox, asked.session_lock(), asked.now).state}


def _set_state(asked: _Asked) -> None:
    state = asked.body.get("session-state")
    if not isinstance(state, bytes | None):
        raise MalformedError("'session-state' must be binary, or null")
    asked.broker.set_session_state(asked.mailbox, asked.session_lock(), state, asked.now)


_OPERATIONS: Final[Mapping[str, Callable[[_Asked], dict[str, Value] | None]]] = {
    "com.microsoft:schedule-message": _schedule,
    "com.microsoft:cancel-scheduled-message": _cancel,
    "com.microsoft:renew-lock": _renew,
    "com.microsoft:peek-message": _peek,
    "com.microsoft:receive-by-sequence-number": _receive_deferred,
    "com.microsoft:update-disposition": _settle,
    "com.microsoft:renew-session-lock": _renew_session,
    "com.microsoft:get-session-state": _get_state,
    "com.microsoft:set-session-state": _set_state,
    "com.microsoft:get-message-sessions": _list_sessions,
    "com.microsoft:enumerate-rules": _list_rules,
    "com.microsoft:add-rule": _add_rule,
    "com.microsoft:remove-rule": _remove_rule,
}


def _page(asked: _Asked, found: list[Value]) -> list[Value]:
    skip, top = _number(asked.body, "skip"), _number(asked.body, "top")
    if skip < 0 or top < 0:
        raise MalformedError("'skip' and 'top' must not be negative")
    return found[skip : skip + top]


def _array(kind: int, values: Iterable[int | str]) -> Array:
    return Array(UNDESCRIBED, kind, *values)  # type: ignore[arg-type] # the annotation leaves out UNDESCRIBED


def _bad_request(description: str) -> Reply:
    return Reply(status=400, description=description, condition=Condition.ARGUMENT_ERROR)


def _list(body: Mapping[Value, Value], name: str) -> list[Value]:
    value = body.get(name)
    values = list(value) if isinstance(value, Array | list) else []
    if not values:
        raise MalformedError(f"{name!r} must be a list that is not empty")
    return values


def _number(body: Mapping[Value, Value], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedError(f"{name!r} must be a number")
    return value


def _numbers(body: Mapping[Value, Value]) -> list[int]:
    values = _list(body, "sequence-numbers")
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise MalformedError("'sequence-numbers' must be numbers")
    return values


def _locks(body: Mapping[Value, Value]) -> list[UUID]:
    values = _list(body, "lock-tokens")
    if not all(isinstance(value, UUID) for value in values):
        raise MalformedError("'lock-tokens' must be uuids")
    return values
