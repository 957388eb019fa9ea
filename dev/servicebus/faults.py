"""Faults on request: which of the things that clients do go wrong, and how. No socket, no clock."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from .errors import Condition, RefusedError

Kind: TypeAlias = Literal["refuse", "stall", "throttle", "drop"]
# Opening a link; a transfer from a client; a transfer to one; its settlement; a request to $management.
Operation: TypeAlias = Literal["open", "send", "receive", "settle", "request"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

_SYMBOL: Final = re.compile(r"[!-~]{1,128}")  # AMQP's symbols are ASCII


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with operations at an address (None: at every address).

    The first `after` of them pass, and the next `times` (None: all) are hit:

    - refuse: answered with the error `condition`, `amqp:internal-error` if none is given; nothing happens.
    - throttle: answered with the error by which Service Bus says that it is busy; nothing happens.
    - stall: neither carried out nor answered until the fault is taken back; then tried again.
    - drop: carried out and stored; instead of the answer, the connection is cut.
    """

    fault: Kind
    address: str | None = None
    on: Sequence[Operation] = OPERATIONS
    after: int = 0
    times: int | None = None
    condition: str | None = None

    def __post_init__(self) -> None:
        """Refuse what means nothing, with a ValueError that names the field."""
        is_list = isinstance(self.on, list | tuple) and bool(self.on)
        is_symbol = isinstance(self.condition, str) and _SYMBOL.fullmatch(self.condition) is not None
        for name, is_good, wanted in (
            ("fault", self.fault in KINDS, f"one of {', '.join(KINDS)}"),
            ("address", isinstance(self.address, str | None), "the path of an entity"),
            ("on", is_list and all(one in OPERATIONS for one in self.on), f"some of {', '.join(OPERATIONS)}"),
            ("after", _is_count(self.after, 0), "a whole number from 0 on"),
            ("times", self.times is None or _is_count(self.times, 1), "a whole number from 1 on"),
            ("condition", self.condition is None or is_symbol, "an AMQP error condition"),
            ("condition", self.condition is None or self.fault == "refuse", "left to 'refuse'"),
        ):
            if not is_good:
                raise ValueError(f"{name!r} must be {wanted}")

    def matches(self, operation: Operation, address: str) -> bool:
        """Say whether it is about this; letter case makes no difference in an address."""
        here = self.address is None or self.address.lower() == address.lower()
        return here and operation in self.on

    @property
    def error(self) -> RefusedError:
        """Give the error to answer with."""
        if self.fault == "throttle":
            # https://learn.microsoft.com/azure/service-bus-messaging/service-bus-throttling
            return RefusedError(
                Condition.SERVER_BUSY,
                "The request was terminated because the entity is being throttled. Error code : 50009. "
                "Please wait 2 seconds and try again.",
            )
        return RefusedError(self.condition or Condition.INTERNAL_ERROR, "Refused: a fault asks for it.")


def read(encoded: bytes) -> list[Fault]:
    """Read a JSON list of faults; raise ValueError that says which is wrong, and what in it."""
    try:
        document = json.loads(encoded)
    except (ValueError, RecursionError):
        raise ValueError("the body must be JSON") from None
    if not isinstance(document, list):
        raise ValueError("the body must be a list of faults")  # noqa: TRY004 - it is the JSON that is wrong
    return [_read(number, entry) for number, entry in enumerate(document)]


def _read(number: int, entry: Any) -> Fault:  # noqa: ANN401 - what JSON holds
    names = [one.name for one in fields(Fault)]
    if not isinstance(entry, dict) or not entry.keys() <= set(names):
        raise ValueError(f"[{number}]: a fault is an object of some of {', '.join(names)}")
    try:
        return Fault(**{"fault": None, **entry})
    except ValueError as error:
        raise ValueError(f"[{number}]: {error}") from None


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class Faults:
    """The faults in force, in order: an operation is shown to each until one hits it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._faults: list[_Counted] = []

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._faults)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Take back all that there are, and put these in force."""
        self._faults = [_Counted(fault) for fault in faults]

    def strike(self, operation: Operation, address: str) -> Fault | None:
        """Find the fault that hits this operation, if one does."""
        return next((one.fault for one in self._faults if one.hits_now(operation, address)), None)

    def show(self) -> list[dict[str, Any]]:
        """Describe each, with how often it has hit."""
        return [asdict(one.fault) | {"hits": one.hits} for one in self._faults]


@dataclass(slots=True)
class _Counted:
    """A fault, how many operations it has let pass, and how many it has hit."""

    fault: Fault
    passed: int = 0
    hits: int = 0

    def hits_now(self, operation: Operation, address: str) -> bool:
        if not self.fault.matches(operation, address) or self.hits == self.fault.times:
            return False
        if self.passed < self.fault.after:
            self.passed += 1
            return False
        self.hits += 1
        return True
