"""
Every setting there is, one row each, in the sections that people see.

A row is a field: its name in the environment, its default, its parser and its sentence. From these rows come the
object that the program reads, `.env.example`, and the table in the README.
"""

# ruff: noqa: RUF009 - `option` makes a dataclass field; the rule cannot see it.

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from claude_relay.core.text.rates import Rate, parse_rate

from . import parsers as a
from . import urls as at
from .option import Option, option


@dataclass(frozen=True, kw_only=True)
class SecretSettings:
    """Keys"""

    anthropic_api_key: str | None = option(
        "ANTHROPIC_API_KEY",
        "",
        a.absent(a.key),
        "Your Anthropic API key; only the worker uses it.",
        secret=True,
        required=True,
    )
    api_secret_key: str | None = option(
        "API_SECRET_KEY",
        "",
        a.absent(a.key),
        "The key that callers send in X-API-Key; it may do all.",
        secret=True,
        required=True,
    )
    webhook_secret: tuple[str, ...] = option(
        "RELAY_WEBHOOK_SECRET", "", a.webhook_secrets, "Signs callbacks; two while one replaces the other.", secret=True
    )


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """The API"""

    port: int = option("PORT", "3000", a.integer(0, 65535), "The port that the API listens on; 0 picks a spare one.")
    host: str = option(
        "RELAY_HOST",
        "127.0.0.1",
        at.host,
        "The address that the API listens on; 0.0.0.0 is every address of the machine.",
    )
    public_url: str | None = option(
        "RELAY_PUBLIC_URL", "", a.absent(at.url), "Where callers reach this relay, such as https://relay.example.com."
    )
    allowed_origins: tuple[str, ...] = option(
        "ALLOWED_ORIGINS", "*", at.origins, "Web pages of these origins may call the API (CORS), commas between."
    )
    trusted_proxy: str | None = option(
        "RELAY_TRUSTED_PROXY", "", a.absent(at.proxy), "The reverse proxy whose X-Forwarded headers are believed."
    )
    rate_limit_submit: Rate | None = option(
        "RELAY_RATE_LIMIT_SUBMIT", "100/15m", parse_rate, "How often one client may submit; off for no limit."
    )
    rate_limit: Rate | None = option(
        "RELAY_RATE_LIMIT", "200/15m", parse_rate, "How often one client may ask anything else; off for no limit."
    )
    max_body: int = option("RELAY_MAX_BODY", "32MiB", a.size(2**10), "The largest request body; beyond it is 413.")
    max_queue: int = option(
        "RELAY_MAX_QUEUE", "100000", a.integer(1, 10**9), "How many jobs may wait; beyond it submits get 503."
    )
    threads: int = option("RELAY_THREADS", "32", a.integer(2, 1000), "Threads that answer requests.")
    streams: int = option(
        "RELAY_STREAMS",
        "16",
        a.integer(0, 1000),
        "Waiting requests and event streams at once, in threads of their own.",
    )
    metrics_public: bool = option("RELAY_METRICS_PUBLIC", "0", a.boolean, "1 shows /metrics without a key.")


@dataclass(frozen=True, kw_only=True)
class ClaudeSettings:
    """Claude"""

    provider: str = option(
        "RELAY_PROVIDER",
        "anthropic",
        a.choice("anthropic", "sandbox"),
        "anthropic, or sandbox: a stand-in that is free.",
    )
    anthropic_base_url: str | None = option(
        "ANTHROPIC_BASE_URL", "", a.absent(at.url), "Another address for Anthropic's API: a proxy, a gateway, a test."
    )
    model: str = option("RELAY_MODEL", "claude-sonnet-5-5", a.name, "The model of a request that names none.")
    fallback_models: tuple[str, ...] = option(
        "RELAY_FALLBACK_MODELS", "", a.words, "Models to turn to, in this order, when the first cannot answer."
    )
    fallback_after: float = option(
        "RELAY_FALLBACK_AFTER", "2m", a.duration, "How long a model is overloaded before another one is asked."
    )
    prices: Path | None = option(
        "RELAY_PRICES", "", a.absent(a.path), "A price file of your own; what it names replaces the shipped prices."
    )
    concurrency: int = option("RELAY_CONCURRENCY", "64", a.integer(1, 10_000), "Calls in flight in one worker.")
    call_timeout: float = option("RELAY_CALL_TIMEOUT", "30m", a.some_time, "The longest that one call may take.")
    first_byte_timeout: float = option(
        "RELAY_FIRST_BYTE_TIMEOUT", "5m", a.some_time, "A call is given up when nothing of an answer came by then."
    )
    idle_timeout: float = option(
        "RELAY_IDLE_TIMEOUT", "2m", a.some_time, "A call is given up when its stream falls silent for so long."
    )
    call_attempts: int = option("RELAY_CALL_ATTEMPTS", "3", a.integer(1, 100), "Tries of a call that fails upstream.")
    interrupted_attempts: int = option(
        "RELAY_INTERRUPTED_ATTEMPTS", "1", a.integer(0, 100), "Further tries of a call that a dying worker broke off."
    )
    fetch_timeout: float = option(
        "RELAY_FETCH_TIMEOUT", "60s", a.some_time, "How long fetching a file that a job names by its url may take."
    )
    backoff_max: float = option("RELAY_BACKOFF_MAX", "60s", a.duration, "The longest pause between two tries.")
    drain: float = option(
        "RELAY_DRAIN", "120s", a.duration, "How long a worker that is told to stop waits for its calls to end."
    )
    lease: float = option("RELAY_LEASE", "60s", a.some_time, "How long a silent worker keeps its jobs.")
    batch_size: int = option(
        "RELAY_BATCH_SIZE", "50", a.integer(1, 100_000), "A batch leaves once it holds so many jobs."
    )
    batch_linger: float = option(
        "RELAY_BATCH_LINGER", "15s", a.duration, "A batch leaves after so long, however small."
    )
    batch_poll: tuple[float, float] = option(
        "RELAY_BATCH_POLL", "5s,60s", a.span, "The first and the longest pause between two looks at a batch."
    )
    batch_margin: float = option(
        "RELAY_BATCH_MARGIN",
        "10m",
        a.some_time,
        "How long before its needBy a job is called live, if no batch has brought it back.",
    )
    batch_settle: float = option(
        "RELAY_BATCH_SETTLE", "60s", a.duration, "A batch whose creation had no answer is looked for at least so long."
    )


@dataclass(frozen=True, kw_only=True)
class CallbackSettings:
    """Callbacks"""

    webhook_timeout: float = option(
        "RELAY_WEBHOOK_TIMEOUT", "30s", a.some_time, "How long a webhook may take to answer."
    )
    webhook_schedule: tuple[float, ...] = option(
        "RELAY_WEBHOOK_SCHEDULE",
        "5s,30s,5m,30m,2h,5h,10h,14h,20h,24h",
        a.schedule,
        "The pauses before each further try of a callback; n pauses are n + 1 tries.",
    )
    callback: str = option(
        "RELAY_CALLBACK", "full", a.choice("full", "seed"), "full, or seed: only the keys that the Node service sent."
    )
    callback_max: int = option(
        "RELAY_CALLBACK_MAX", "4MiB", a.size(2**10), "A larger callback carries an address to fetch the answer from."
    )
    ack_remind: float | None = option(
        "RELAY_ACK_REMIND", "off", a.off(a.some_time), "Send once more what was delivered and not acknowledged by then."
    )
    allow_private_urls: tuple[str, ...] = option(
        "RELAY_ALLOW_PRIVATE_URLS",
        "",
        at.private,
        "Private hosts, host:port or networks that webhooks and files may reach.",
    )


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """The store"""

    store: str = option(
        "RELAY_STORE",
        at.SYSTEM_STORE,
        at.store,
        "Where jobs are kept: a file (in a checkout ./data/relay.db), or postgresql://USER@HOST/NAME.",
        may_hold_secret=True,
    )
    disk_floor: int = option("RELAY_DISK_FLOOR", "256MiB", a.size(0), "With less disk free than this, submits get 503.")
    retention: float = option(
        "RELAY_RETENTION",
        "24h",
        a.duration,
        "Jobs are deleted this long after delivery, or their end without a webhook.",
    )
    retention_failed: float = option(
        "RELAY_RETENTION_FAILED", "30d", a.duration, "Failed jobs and dead callbacks are deleted after this long."
    )
    tombstones: float = option(
        "RELAY_TOMBSTONES", "30d", a.duration, "How long the requestId of a deleted job stays taken."
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """Logs and alerts"""

    env: str = option(
        "RELAY_ENV",
        "development",
        a.choice("development", "production"),
        "development or production; NODE_ENV means the same.",
        aliases=("NODE_ENV",),
    )
    log_level: str = option(
        "LOG_LEVEL",
        "info",
        a.choice("error", "warn", "info", "debug", warning="warn"),
        "What is logged: error, warn, info or debug.",
    )
    log_dir: Path | None = option(
        "RELAY_LOG_DIR", "", a.absent(a.path), "A directory for error.log and combined.log, beside the console."
    )
    alert_url: str | None = option(
        "RELAY_ALERT_URL",
        "",
        a.absent(at.webhook_url),
        "An address, private or not, that is told when the relay needs a person.",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class CliSettings:
    """The command line"""

    url: str | None = option("RELAY_URL", "", a.absent(at.url), "Act on the relay there, not on this machine's store.")
    api_key: str | None = option(
        "RELAY_API_KEY", "", a.absent(a.key), "The key for the relay at RELAY_URL.", secret=True
    )


SECTIONS: tuple[type, ...] = (
    SecretSettings,
    ServerSettings,
    ClaudeSettings,
    CallbackSettings,
    StoreSettings,
    LogSettings,
    CliSettings,
)


def rows(section: type) -> tuple[Option, ...]:
    """The options of one section, in the order they are written, under the title that its docstring is."""
    return tuple(replace(each.metadata["option"], section=section.__doc__ or "") for each in fields(section))


OPTIONS: tuple[Option, ...] = tuple(row for section in SECTIONS for row in rows(section))
