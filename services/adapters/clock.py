"""The time as this machine has it."""

from datetime import UTC, datetime


class SystemClock:
    """The system's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)
