"""Replies that are unfinished because the process that made them died.

note_interrupted   gives them the finish_reason "abort"
"""

from __future__ import annotations

from sqlalchemy import select, update

from duologue.storage.database import Database
from duologue.storage.tables import messages

_MAX_NUMBERS = 500  # in one statement


def note_interrupted(database: Database, before_ms: int) -> int:
    """Note that replies are made by nobody any more; returns how many.

    before_ms  those that were begun before this time, in milliseconds since 1970-01-01 UTC

    They stay unfinished: nothing is shown of them, and nothing comes after them. Another process
    that is still making one can complete it all the same.
    """
    columns = messages.c
    is_made = (columns.status == "unfinished") & columns.finish_reason.is_(None)
    begun = select(columns.number).where(is_made, columns.created_ms < before_ms)
    with database.reading() as connection:  # all messages are read: nobody is to wait for that
        numbers = list(connection.execute(begun).scalars())
    for first in range(0, len(numbers), _MAX_NUMBERS):
        some = columns.number.in_(numbers[first : first + _MAX_NUMBERS])
        with database.writing() as connection:
            connection.execute(update(messages).where(is_made, some).values(finish_reason="abort"))
    return len(numbers)
