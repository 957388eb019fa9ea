"""The upsert: the row and what follows from it, together and once."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.consumer.database import Database, Outcome


def payment(**changes: Any) -> Outcome:
    known = {
        "job_id": "job_1",
        "provider": "stripe",
        "operation": "payment",
        "status": "succeeded",
        "metadata": {"order": "7"},
        "result": {"currency": "usd", "amount_received": 700},
        "failure": None,
        "settled_at": "2026-03-01T12:04:07+00:00",
    }
    return Outcome.model_validate(known | changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consumer.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    one = Database(path)
    yield one
    one.close()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection, who sees what is committed."""
    one = sqlite3.connect(path, isolation_level=None)
    yield one
    one.close()


def test_payments_of_different_jobs_add_up_by_currency(database: Database, other: sqlite3.Connection) -> None:
    assert database.record("outcome-job_1", payment())
    assert database.record("outcome-job_2", payment(job_id="job_2"))
    euro = payment(job_id="job_3", result={"currency": "eur", "amount_received": 5})
    assert database.record("outcome-job_3", euro)
    assert other.execute("SELECT * FROM takings ORDER BY currency").fetchall() == [
        ("eur", 1, 5),
        ("usd", 2, 1400),
    ]


@pytest.mark.parametrize(
    ("outcome_id", "job_id"),
    [("outcome-job_1", "job_1"), ("outcome-job_1", "job_2"), ("outcome-job_2", "job_1")],
    ids=["both", "the outcome", "the job"],
)
def test_what_is_known_by_either_id_changes_nothing(
    database: Database, other: sqlite3.Connection, outcome_id: str, job_id: str
) -> None:
    assert database.record("outcome-job_1", payment())
    again = payment(job_id=job_id, result={"currency": "usd", "amount_received": 1})
    assert not database.record(outcome_id, again)
    assert other.execute("SELECT * FROM takings").fetchall() == [("usd", 1, 700)]
    assert other.execute("SELECT job_id FROM outcomes").fetchall() == [("job_1",)]


def test_a_row_whose_booking_fails_is_not_kept_and_the_next_try_does_both(
    database: Database, other: sqlite3.Connection
) -> None:
    other.execute("ALTER TABLE takings RENAME TO away")
    with pytest.raises(sqlite3.OperationalError):
        database.record("outcome-job_1", payment())
    assert other.execute("SELECT * FROM outcomes").fetchall() == []
    other.execute("ALTER TABLE away RENAME TO takings")
    assert database.record("outcome-job_1", payment())
    assert other.execute("SELECT * FROM takings").fetchall() == [("usd", 1, 700)]


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "failed", "result": None, "failure": {"code": "card_declined", "message": "declined"}},
        {"provider": "weather", "operation": "forecast"},
        {"operation": "report"},
    ],
    ids=["failed", "another provider", "another operation"],
)
def test_what_is_no_payment_is_recorded_and_books_nothing(
    database: Database, other: sqlite3.Connection, changes: dict[str, Any]
) -> None:
    assert database.record("outcome-job_1", payment(**changes))
    assert other.execute("SELECT job_id FROM outcomes").fetchall() == [("job_1",)]
    assert other.execute("SELECT * FROM takings").fetchall() == []


def test_records_outlive_the_process(path: Path) -> None:
    first = Database(path)
    assert first.record("outcome-job_1", payment())
    first.close()
    second = Database(path)
    assert not second.record("outcome-job_1", payment())
    second.close()
