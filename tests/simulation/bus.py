"""Service Bus as Azure does it: forwarding, peek-lock, ten deliveries, duplicates known for a while."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from services.adapters.memory import MemoryBus
from services.messages import TickRead, read_inbox
from services.models import Message
from tests.simulation.parties import moment

if TYPE_CHECKING:
    from tests.simulation.world import World

MOST_DELIVERIES = 10
MOST_WOKEN = 150
"""How often messages wake one job: about twice as often as a right run was seen to."""
WINDOW = 3600.0
"""How long a message id is known, in seconds: an outcome that is sent again after an outage is dropped."""


@dataclass(eq=False, kw_only=True)
class Entry:
    """A message on the queue, locked or not."""

    message: Message
    deliveries: int = 0


class Bus(MemoryBus):
    """The topic, its subscription that forwards, and the queue with its trigger."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self.world = world
        self.random = world.random
        self.entries: dict[int, Entry] = {}
        self.dead: list[Message] = []
        self.woken = Counter[str]()
        self._forwarded = 0
        self._taken_in = 0
        self._known: deque[tuple[float, set[str], str]] = deque()
        self._ticks: dict[str, tuple[str, int] | None] = {}

    async def publish(self, message: Message) -> None:
        self._forget()
        await super().publish(message)
        self._known.append((self.world.now(), self._seen_by_topic, message.message_id))
        for new in self.published[self._forwarded :]:
            self._forwarded += 1
            if new.properties["kind"] == "callback":
                self.world.spawn(self._forward(new))

    async def schedule(self, message: Message, at: datetime) -> int:
        self._forget()
        number = await super().schedule(message, at)
        self._known.append((self.world.now(), self._seen_by_queue, message.message_id))
        late = self.random.choice((0, 0, 0.1, 1))
        wait = max((at - moment(self.world.now())).total_seconds(), 0)
        self.world.later(wait + late, lambda: self._come_due(number))
        return number

    def ticks(self, job_id: str) -> Iterator[int]:
        """Name the numbers of a job's ticks that are scheduled, queued or locked."""
        messages = [message for _, message in self.scheduled.values()]
        messages += [entry.message for entry in self.entries.values()]
        for message in messages:
            name = message.message_id
            if name not in self._ticks:
                read = read_inbox(message)
                self._ticks[name] = (read.job_id, read.number) if isinstance(read, TickRead) else None
            found = self._ticks[name]
            if found and found[0] == job_id:
                yield found[1]

    def _forget(self) -> None:
        while self._known and self._known[0][0] < self.world.now() - WINDOW:
            _, seen, message_id = self._known.popleft()
            seen.discard(message_id)

    async def _forward(self, message: Message) -> None:
        await self.world.sleep(self.random.choice((0, 0.05, 2)))
        self._forget()
        if message.message_id not in self._seen_by_queue:
            self._seen_by_queue.add(message.message_id)
            self._known.append((self.world.now(), self._seen_by_queue, message.message_id))
            self._queue(message)

    def _come_due(self, number: int) -> None:
        if number in self.scheduled:
            self._queue(self.scheduled.pop(number)[1])

    def _queue(self, message: Message) -> None:
        self._taken_in += 1
        self.entries[self._taken_in] = Entry(message=message)
        self.world.spawn(self._deliver(self._taken_in))

    async def _deliver(self, number: int) -> None:
        entry = self.entries[number]
        while True:
            await self.world.sleep(self.random.choice((0.001, 0.01, 0.1)))
            node = await self.world.some_node("bus")
            if entry.deliveries == MOST_DELIVERIES:
                self.dead.append(entry.message)
                self.world.note("bus", f"dead letter: {entry.message.message_id}")
                if "sends" not in self.world.plan.away:
                    self.world.fail(f"dead letter: {entry.message.message_id}")
                break
            entry.deliveries += 1
            self.world.note(node.name, f"gets {entry.message.message_id} ({entry.deliveries})")
            self.woken[entry.message.correlation_id] += 1
            if self.woken[entry.message.correlation_id] > MOST_WOKEN:
                self.world.fail(f"{entry.message.correlation_id} is woken again and again")
            lock = self.random.choice((30, 60, 300))
            ended = await node.run(node.service.advance(entry.message), 300 if self.world.calm() else lock)
            if ended.done and not self.world.is_away("bus"):
                break
            if not ended.done:
                # Of a process that died only the end of the lock tells.
                await self.world.sleep(lock if ended.died else 0)
        del self.entries[number]
        self.world.watch.completed(entry.message)
