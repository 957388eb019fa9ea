"""Log records with their fields: the Functions worker sends a record's text alone, and drops the rest."""

import json
import logging

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Writes the event, then what was given in `extra` as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        fields = {name: value for name, value in vars(record).items() if name not in _OWN}
        return f"{text} {json.dumps(fields, default=str)}" if fields else text


def show_fields() -> None:
    """Let every root handler that has no formatter of its own show the fields."""
    for handler in logging.getLogger().handlers:
        if handler.formatter is None:
            handler.setFormatter(FieldsFormatter())
