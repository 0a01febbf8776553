"""The files that a worker has fetched for a job: kept with it, until its content is erased."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import machine
from ..core.change import Event
from ..core.fetching import KeptFile
from ..errors import LeaseLost
from ..ports import Unit
from .values import Claimed, Tools


class Attachments:
    """The use cases of whoever makes a job's request whole."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def kept(self, claimed: Claimed) -> Sequence[KeptFile]:
        """What has been fetched, in this run or an earlier one."""
        return self._store.read(lambda view: view.files(claimed.job.id))

    def data(self, claimed: Claimed, file: KeptFile) -> bytes:
        """The bytes of one of them."""
        return self._store.read(lambda view: view.file_data(claimed.job.id, file.number))

    def keep(self, claimed: Claimed, file: KeptFile, data: bytes | bytearray, *, ms: int) -> None:
        """On disk when this returns. Raises `LeaseLost` if another worker has the job by now."""

        def add(unit: Unit) -> None:
            job = unit.job(claimed.job.id)
            if job is None:
                raise LeaseLost()
            machine.fence_try(job, claimed.token or None, claimed.call)
            if any(known.number == file.number for known in unit.files(job.id)):
                return
            detail = {
                "file": file.number,
                "mediaType": file.media_type,
                "size": file.size,
                "sha256": file.sha256,
                "ms": ms,
            }
            subject = f"file:{file.number}"
            event = Event(job_id=job.id, subject=subject, version=1, at=unit.now, name="file_fetched", detail=detail)
            unit.add_file(job.id, file, data, event)

        self._store.write(add)
