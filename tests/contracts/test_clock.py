"""Clock: the system's and the one that tests move."""

from datetime import UTC, datetime, timedelta

import pytest

from services.adapters.clock import SystemClock
from services.adapters.memory import ManualClock
from services.ports import Clock

from .samples import NOW


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(NOW)], ids=["system", "manual"])
def test_a_clock_says_its_zone(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta(0)


def test_the_system_clock_has_the_time() -> None:
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    clock.advance(timedelta(days=1))
    assert (clock.now(), clock.now()) == (datetime(2026, 3, 2, tzinfo=UTC),) * 2


def test_a_manual_clock_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        ManualClock(datetime(2026, 3, 1))  # noqa: DTZ001 what is refused
