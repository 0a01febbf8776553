"""Many submissions or redeliveries in one request, each with its own result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.jobs.submission import Submission
from ..core.keys import ADMIN
from ..errors import InvalidRequest, RelayError
from .types import Accepted, JobRef, PreparedSubmit

if TYPE_CHECKING:
    from ..core.intake import IntakeContext
    from .context import Context
    from .job_actions import JobActions
    from .queries import Queries
    from .submit import Submitter
    from .templates import TemplateLookup, Templates


class BulkRequests:
    """Wire bodies for accepted submissions, single or in bulk: the same over HTTP and on the command line."""

    def __init__(
        self,
        context: Context,
        submitter: Submitter,
        job_actions: JobActions,
        queries: Queries,
        templates: Templates,
    ) -> None:
        self._public_url = context.policy.public_url
        self._submitter, self._job_actions, self._queries = submitter, job_actions, queries
        self._templates = templates

    def accepted_body(
        self, accepted: Accepted, *, now: float, base: str | None = None, show_state: bool = True
    ) -> dict[str, Any]:
        """
        The body of the 202. `base` is the URL that the caller used, for a relay without RELAY_PUBLIC_URL.

        Without `show_state` a duplicate is answered like the first request, for a key that may not read.
        """
        job = accepted.job
        return wire.accepted(
            job.request_id,
            status=wire.STATUS[job.state] if accepted.duplicate and show_state else "pending",
            now=now,
            warnings=(*accepted.warnings, *accepted.state_warnings) if show_state else accepted.warnings,
            base=self._public_url or base,
            duplicate=accepted.duplicate,
            webhook_empty=accepted.webhook_empty,
        )

    def prepared_body(self, prepared: PreparedSubmit, *, now: float, base: str | None = None) -> dict[str, Any]:
        """The body of the 202 for a job that is about to be stored, as `accepted_body` once it is."""
        return wire.accepted(
            prepared.request_id,
            now=now,
            warnings=prepared.warnings,
            base=self._public_url or base,
            webhook_empty=prepared.webhook_empty,
        )

    def submit_bodies(
        self,
        bodies: Sequence[Any | RelayError],
        intake: IntakeContext,
        *,
        now: float,
        owner: str = ADMIN,
        base: str | None = None,
        show_state: bool = True,
        traceparent: str | None = None,
    ) -> Sequence[dict[str, Any]]:
        """
        Submit many bodies in one commit; each result has the `statusCode` that its body would get alone.

        `show_state`: as in `accepted_body`; without it a template's `continueFrom` is refused.
        """
        intake, lookup = intake.for_bulk(), self._templates.lookup(owner)
        parsed = [self._parse(body, intake, lookup, now=now, owner=owner, reads=show_state) for body in bodies]
        valid = [replace(item, traceparent=traceparent) for item in parsed if isinstance(item, Submission)]
        accepted = iter(self._submitter.submit_many(valid, owner=owner) if valid else ())
        results = [next(accepted) if isinstance(item, Submission) else item for item in parsed]

        return [
            _refused(index, result, now=now)
            if isinstance(result, RelayError)
            # The item's HTTP status has a field of its own: `status` is the status of the job, a word.
            else {
                "index": index,
                "statusCode": 202,
                **self.accepted_body(result, now=now, base=base, show_state=show_state),
            }
            for index, result in enumerate(results)
        ]

    def redeliver_many(
        self, refs: Sequence[JobRef | RelayError], url: str | None, *, now: float
    ) -> Sequence[dict[str, Any]]:
        """Send stored results again; each job has its own result, and a failed one does not stop the others."""
        return [{"index": index, **self._redeliver(ref, url, now=now)} for index, ref in enumerate(refs)]

    def _parse(
        self,
        body: Any | RelayError,
        intake: IntakeContext,
        lookup: TemplateLookup,
        *,
        now: float,
        owner: str,
        reads: bool,
    ) -> Submission | RelayError:
        if isinstance(body, RelayError):
            return body
        try:
            return self._templates.parse(body, owner=owner, now=now, context=intake, lookup=lookup, may_continue=reads)
        except InvalidRequest as exc:
            return InvalidRequest(problems=exc.problems)  # without the traceback, which would keep the body alive
        except RelayError as exc:
            return exc.with_traceback(None)

    def _redeliver(self, ref: JobRef | RelayError, url: str | None, *, now: float) -> dict[str, Any]:
        try:
            if isinstance(ref, RelayError):
                raise ref
            self._job_actions.redeliver(ref, url=url)
            return {"statusCode": 202, **self._queries.status(ref)}
        except RelayError as exc:
            name = {"requestId": ref.request_id} if isinstance(ref, JobRef) else {}
            return {"statusCode": exc.status, **name, **wire.error_body(exc, now=now)}


def _refused(index: int, error: RelayError, *, now: float) -> dict[str, Any]:
    body = wire.error_body(error, problems=getattr(error, "problems", ()), now=now)

    return {"index": index, "statusCode": error.status, **body}
