"""Sums that are kept in several rows, which become one row from time to time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .sql import money, tallies

if TYPE_CHECKING:
    from .group_commit import Session

log = logging.getLogger(__name__)


def fold(session: Session) -> None:
    """Replace the rows of a number, and the parts of a sum of costs, by one."""
    try:
        session.begin(())
        [(last,)] = session.run(tallies.LAST, ())
        for sql in tallies.FOLD if last else ():
            session.run(sql, (last,))
        for sql in money.FOLD:
            session.run(sql, ())
        session.commit((), ())
    except Exception as exc:
        log.info("numbers of jobs were not folded", extra={"error": str(session.translate(exc))})
        session.rollback()
