"""The files that a worker has fetched for a job: kept with it, until its content is erased."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.files.fetched import FetchedFile
from ..core.jobs import transitions
from ..core.jobs.events import Event, EventName
from ..errors import LeaseLost
from ..ports import Transaction
from .context import ClaimedJob, Context


class FetchedFiles:
    """The use cases of whoever makes a job's request whole."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def list(self, claimed: ClaimedJob) -> Sequence[FetchedFile]:
        """What has been fetched, in this run or an earlier one."""
        return self._store.read(lambda tx: tx.files(claimed.job.id))

    def data(self, claimed: ClaimedJob, file: FetchedFile) -> bytes:
        """The bytes of one of them."""
        return self._store.read(lambda tx: tx.file_data(claimed.job.id, file.number))

    def keep(self, claimed: ClaimedJob, file: FetchedFile, data: bytes | bytearray, *, ms: int) -> None:
        """On disk when this returns. Raises `LeaseLost` if another worker has the job by now."""

        def add(tx: Transaction) -> None:
            job = tx.job(claimed.job.id)
            if job is None:
                raise LeaseLost()
            transitions.fence_attempt(job, claimed.token or None, claimed.call)
            if any(known.number == file.number for known in tx.files(job.id)):
                return
            detail = {
                "file": file.number,
                "mediaType": file.media_type,
                "size": file.size,
                "sha256": file.sha256,
                "ms": ms,
            }
            subject = f"file:{file.number}"
            name = EventName.FILE_FETCHED
            event = Event(job_id=job.id, subject=subject, version=1, at=tx.now, name=name, detail=detail)
            tx.add_file(job.id, file, data, event)

        self._store.write(add)
