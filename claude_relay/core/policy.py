"""The numbers that decisions depend on, as one value, with their defaults."""

from __future__ import annotations

from .lazy_dataclass import dataclass

DAY = 86_400.0

#: Defaults of a call's time limits, in seconds; they are enforced where the call is made.
CALL_TIMEOUT, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT = 1800.0, 300.0, 120.0
#: Maximum characters of one answer.
MAX_ANSWER = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Policy:
    """
    Limits, delays and schedules. Durations are in seconds.

    A field that is also a setting has the setting's name, and the setting takes its default from here.
    """

    model: str | None = None  # RELAY_MODEL: replaces a retired model
    fallback_after: float = 120.0
    call_attempts: int = 3
    interrupted_attempts: int = 1
    call_timeout: float = CALL_TIMEOUT
    backoff_base: float = 1.0
    backoff_max: float = 60.0
    lease: float = 60.0
    batch_size: int = 50
    batch_linger: float = 15.0
    batch_poll: tuple[float, float] = (5.0, 60.0)
    batch_margin: float = 600.0  # a job with needBy is called live this long before it
    batch_settle: float = 60.0  # a batch whose creation was not answered is looked for at least this long
    deadline: float = DAY
    max_queue: int = 100_000
    webhook_schedule: tuple[float, ...] = (
        5.0,
        30.0,
        300.0,
        1800.0,
        7200.0,
        18_000.0,
        36_000.0,
        50_400.0,
        72_000.0,
        86_400.0,
    )
    webhook_lease: float = 60.0
    callback: str = "full"
    callback_max: int = 4 * 1024 * 1024
    public_url: str | None = None
    ack_remind: float | None = None  # None: no reminders
    retention: float = DAY
    retention_failed: float = 30 * DAY
    tombstones: float = 30 * DAY

    #: n8n's Wait node answers 404 or 409 until it waits: how long that is tolerated, and the delay between attempts.
    not_ready_window: float = 120.0
    not_ready_delay: float = 4.0

    #: Delay of the first delivery after the 202, as the receiver may not listen yet: the promised second and a margin.
    delivery_delay: float = 1.25
