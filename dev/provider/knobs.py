"""What can be made to go wrong, and for which starts."""

import random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0)]


class CallbackKnobs(BaseModel):
    """How a job's callbacks go.

    `lost`: true for all of them, below 1 the chance that one is, from 1 on the first so many of each job.
    `repeat`: how often each is sent again after it was taken. `reorder`: the last comes before the others.
    `forge`: signed with a wrong secret. `early`: before the answer to the start.
    """

    model_config = ConfigDict(extra="forbid")

    lost: bool | Annotated[float, Field(ge=0)] = False
    delay: Seconds = 0
    repeat: Annotated[int, Field(ge=0)] = 0
    reorder: bool = False
    forge: bool = False
    outcome: Literal["succeeded", "failed", "canceled"] | None = None
    early: bool = False

    def loses(self, number: int, chance: random.Random) -> bool:
        """Tell whether a job's callback with this number, from 1 on, is lost."""
        if isinstance(self.lost, bool):
            return self.lost
        return number <= self.lost if self.lost >= 1 else chance.random() < self.lost


class Knobs(BaseModel):
    """How a start and its job go.

    `delay` is how long the answer takes, in seconds; `latency` (and up to `latency_jitter` more) how long the
    job works. `status` refuses the start, `cut` closes the connection and `hang` leaves it open, both without
    an answer. They strike before the job is made, or after it with `cut: "after"`.
    """

    model_config = ConfigDict(extra="forbid")

    delay: Seconds = 0
    latency: Seconds = 1.0
    latency_jitter: Seconds = 0
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: int | str | None = None
    hang: bool = False
    cut: Literal["before", "after"] | None = None
    callback: CallbackKnobs = CallbackKnobs()

    @property
    def troubled(self) -> bool:
        return self.status is not None or self.hang or self.cut is not None


class Rule(Knobs):
    """Knobs for the starts whose request has `match` in it, the next `times` ones if that is set."""

    provider: str | None = None
    match: str = ""
    times: Annotated[int, Field(ge=1)] | None = None


class Rules:
    """Rules in the order they were made: a later one overrides what it names of an earlier one."""

    def __init__(self) -> None:
        self._rules: list[tuple[Rule, dict[str, Any]]] = []
        self._left: list[int | None] = []

    def add(self, rule: Rule) -> None:
        changes = rule.model_dump(exclude_unset=True, exclude={"provider", "match", "times"})
        self._rules.append((rule, changes))
        self._left.append(rule.times)

    def draw(self, request: str) -> Knobs:
        """Work out the knobs for a start, and count it."""
        found: dict[str, Any] = {}
        for index, (rule, changes) in enumerate(self._rules):
            left = self._left[index]
            if left == 0 or rule.match not in request:
                continue
            self._left[index] = None if left is None else left - 1
            found = found | changes | {"callback": found.get("callback", {}) | changes.get("callback", {})}
        return Knobs.model_validate(found)
