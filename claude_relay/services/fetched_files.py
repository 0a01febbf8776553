"""Files that a worker has fetched for a job; stored with the job until its content is erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.jobs.events import Event, EventName
from ..core.jobs.fencing import fence_attempt
from ..errors import LeaseLost
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.files.fetched import FetchedFile
    from ..ports import ReadTransaction, Transaction
    from .context import Context
    from .types import ClaimedJob


class FetchedFiles:
    """Use cases of the code that loads a job's attachments."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    @query
    def list(self, tx: ReadTransaction, claimed: ClaimedJob) -> Sequence[FetchedFile]:
        """Files that were fetched for the job, in this run or an earlier one."""
        return tx.files(claimed.job.id)

    @query
    def data(self, tx: ReadTransaction, claimed: ClaimedJob, file: FetchedFile) -> bytes:
        """The bytes of a file."""
        return tx.file_data(claimed.job.id, file.number)

    @transaction
    def keep(
        self, tx: Transaction, claimed: ClaimedJob, file: FetchedFile, data: bytes | bytearray, *, ms: int
    ) -> None:
        """Store a file: it is on disk when this returns. Raises `LeaseLost` if another worker has the job by now."""
        job = tx.job(claimed.job.id)
        if job is None:
            raise LeaseLost()
        fence_attempt(job, claimed.token or None, claimed.call)
        if any(stored.number == file.number for stored in tx.files(job.id)):
            return
        detail = {
            "file": file.number,
            "mediaType": file.media_type,
            "size": file.size,
            "sha256": file.sha256,
            "ms": ms,
        }
        subject = f"file:{file.number}"
        event = Event(job_id=job.id, subject=subject, version=1, at=tx.now, name=EventName.FILE_FETCHED, detail=detail)
        tx.add_file(job.id, file, data, event)
