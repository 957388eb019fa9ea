"""The database: outcomes by job, and what the business made of them, always in step.

SQLite stands in for yours. Any database that has transactions and unique keys can do the same.
"""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

_TABLES = """
CREATE TABLE IF NOT EXISTS outcomes (
  job_id TEXT PRIMARY KEY,
  outcome_id TEXT NOT NULL UNIQUE,
  provider TEXT NOT NULL,
  operation TEXT NOT NULL,
  status TEXT NOT NULL,
  metadata TEXT NOT NULL,
  result TEXT,
  failure TEXT,
  settled_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS takings (
  currency TEXT PRIMARY KEY,
  payments INTEGER NOT NULL,
  amount INTEGER NOT NULL
);
"""


class Payment(BaseModel):
    """What is needed of a payment; `amount_received` is in the currency's smallest unit."""

    currency: str
    amount_received: int = Field(ge=0, le=10**12)


class Outcome(BaseModel):
    """How a job ended: the data of an outcome's event. Fields that are not known here are ignored."""

    job_id: str = Field(min_length=1)
    provider: str
    operation: str
    status: Literal["succeeded", "failed", "canceled", "expired"]
    metadata: Mapping[str, str]
    result: JsonValue
    failure: JsonValue
    settled_at: str

    @property
    def payment(self) -> Payment | None:
        paid = (self.provider, self.operation, self.status) == ("stripe", "payment", "succeeded")
        return Payment.model_validate(self.result) if paid else None

    @model_validator(mode="after")
    def _can_be_booked(self) -> Self:
        _ = self.payment  # found out here, one that cannot is a poison message and no crash at the database
        return self


class Database:
    """One connection, for one message at a time: a call may wait up to 5 s for another process's write."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=5)
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        self._connection.close()

    def record(self, outcome_id: str, outcome: Outcome) -> bool:
        """Write an outcome and what follows from it, in one transaction; return False if it was known.

        The takings are a sum: to add a payment twice would be wrong for ever. Only who has inserted the row
        adds it, and either both are committed or neither. Raises sqlite3.OperationalError for what may pass.
        """
        with self._connection:
            inserted = self._connection.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    outcome.job_id,
                    outcome_id,
                    outcome.provider,
                    outcome.operation,
                    outcome.status,
                    json.dumps(dict(outcome.metadata)),
                    json.dumps(outcome.result),
                    json.dumps(outcome.failure),
                    outcome.settled_at,
                ),
            )
            if inserted.rowcount == 0:
                return False
            if payment := outcome.payment:
                self._connection.execute(
                    "INSERT INTO takings VALUES (?, 1, ?) ON CONFLICT (currency)"
                    " DO UPDATE SET payments = payments + 1, amount = amount + excluded.amount",
                    (payment.currency, payment.amount_received),
                )
            return True
