"""
Every setting, one row each, in the sections in which they are documented.

A row is a field: its name in the environment, its default, its parser and its sentence. `Settings`, `.env.example` and
docs/reference/settings.md are made from these rows. Defaults that decisions depend on come from `core.policy`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from ..core.lazy_dataclass import dataclass
from ..core.policy import CALL_TIMEOUT, FIRST_BYTE_TIMEOUT, IDLE_TIMEOUT, Policy
from ..core.text.rates import Rate, parse_rate
from ..core.text.sizes import format_size
from . import parsers as parse
from . import urls
from .option import Option, option

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def _text(*delays: float) -> str:
    """Default durations as settings write them, each in the largest unit that fits twice: `60s,24h`."""
    units = [
        next((unit, size) for unit, size in _UNITS if not seconds % size and seconds >= 2 * size) for seconds in delays
    ]

    return ",".join(f"{seconds / size:g}{unit}" for seconds, (unit, size) in zip(delays, units, strict=True))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SecretSettings:
    """Keys"""

    anthropic_api_key: str | None = option(
        "ANTHROPIC_API_KEY",
        "",
        parse.optional(parse.key),
        "Your Anthropic API key; only the worker uses it.",
        secret=True,
        required=True,
    )
    api_secret_key: str | None = option(
        "API_SECRET_KEY",
        "",
        parse.optional(parse.admin_keys),
        "The admin key, which callers send in X-API-Key; two during a change, separated by a comma.",
        secret=True,
        required=True,
    )
    webhook_secret: tuple[str, ...] = option(
        "RELAY_WEBHOOK_SECRET",
        "",
        parse.webhook_secrets,
        "Secret that signs callbacks; two during a rotation.",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ServerSettings:
    """The API"""

    port: int = option("PORT", "3000", parse.integer(0, 65535), "Port of the API; 0 picks a free one.")
    host: str = option(
        "RELAY_HOST",
        "127.0.0.1",
        urls.host,
        "Address that the API listens on; 0.0.0.0 is every IPv4 address of the machine, :: every one.",
    )
    public_url: str | None = option(
        "RELAY_PUBLIC_URL",
        "",
        parse.optional(urls.public_url),
        "URL at which callers reach this relay, such as https://relay.example.com.",
    )
    allowed_origins: tuple[str, ...] = option(
        "ALLOWED_ORIGINS", "*", urls.origins, "Origins whose web pages may call the API (CORS), comma-separated."
    )
    trusted_proxy: str | None = option(
        "RELAY_TRUSTED_PROXY",
        "",
        parse.optional(urls.proxy),
        "IP addresses or networks of the reverse proxies whose X-Forwarded headers are trusted.",
    )
    rate_limit_submit: Rate | None = option(
        "RELAY_RATE_LIMIT_SUBMIT", "100/15m", parse_rate, "Maximum submissions per client; off for no limit."
    )
    rate_limit: Rate | None = option(
        "RELAY_RATE_LIMIT", "200/15m", parse_rate, "Maximum other requests per client; off for no limit."
    )
    max_body: int = option("RELAY_MAX_BODY", "32MiB", parse.size(2**10), "Largest request body; larger ones get 413.")
    max_answer: int = option(
        "RELAY_MAX_ANSWER",
        "16MiB",
        parse.size(2**10),
        "Longest answer of Claude; a longer one is ended, and the job fails with what had come.",
    )
    max_queue: int = option(
        "RELAY_MAX_QUEUE",
        str(Policy.max_queue),
        parse.integer(1, 10**9),
        "Maximum number of waiting jobs; beyond it, keys that have their share of it get 503.",
    )
    threads: int = option("RELAY_THREADS", "32", parse.integer(2, 1000), "Threads that answer requests.")
    streams: int = option(
        "RELAY_STREAMS",
        "64",
        parse.integer(0, 800),
        "Event streams at once; further ones get 503.",
    )
    metrics_public: bool = option("RELAY_METRICS_PUBLIC", "0", parse.boolean, "1 shows /metrics without a key.")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ClaudeSettings:
    """Claude"""

    provider: str = option(
        "RELAY_PROVIDER",
        "anthropic",
        parse.choice("anthropic", "sandbox"),
        "anthropic, or sandbox: a free stand-in.",
    )
    anthropic_base_url: str | None = option(
        "ANTHROPIC_BASE_URL",
        "",
        parse.optional(urls.upstream),
        "Another URL for Anthropic's API: a proxy, a gateway or a test.",
    )
    model: str = option("RELAY_MODEL", "claude-sonnet-5-5", parse.word, "Model for requests that name none.")
    fallback_models: tuple[str, ...] = option(
        "RELAY_FALLBACK_MODELS", "", parse.comma_list, "Models to try, in this order, when the first one cannot answer."
    )
    fallback_after: float = option(
        "RELAY_FALLBACK_AFTER",
        _text(Policy.fallback_after),
        parse.duration,
        "Time a model must be overloaded before a fallback model is called.",
    )
    prices: Path | None = option(
        "RELAY_PRICES",
        "",
        parse.optional(parse.path),
        "Your own price file; its entries replace the shipped prices.",
    )
    concurrency: int = option("RELAY_CONCURRENCY", "64", parse.integer(1, 10_000), "Calls in flight in one worker.")
    call_timeout: float = option(
        "RELAY_CALL_TIMEOUT", _text(CALL_TIMEOUT), parse.positive_duration, "Maximum duration of one call."
    )
    first_byte_timeout: float = option(
        "RELAY_FIRST_BYTE_TIMEOUT",
        _text(FIRST_BYTE_TIMEOUT),
        parse.positive_duration,
        "Maximum wait for the beginning of an answer.",
    )
    idle_timeout: float = option(
        "RELAY_IDLE_TIMEOUT",
        _text(IDLE_TIMEOUT),
        parse.positive_duration,
        "Maximum silence within an answer before the call is ended.",
    )
    call_attempts: int = option(
        "RELAY_CALL_ATTEMPTS",
        str(Policy.call_attempts),
        parse.integer(1, 100),
        "Maximum attempts of a call that fails upstream.",
    )
    interrupted_attempts: int = option(
        "RELAY_INTERRUPTED_ATTEMPTS",
        str(Policy.interrupted_attempts),
        parse.integer(0, 100),
        "Additional attempts of a call that ended with its worker.",
    )
    fetch_timeout: float = option(
        "RELAY_FETCH_TIMEOUT", "60s", parse.positive_duration, "Maximum time to fetch one file that a job gives by URL."
    )
    backoff_max: float = option(
        "RELAY_BACKOFF_MAX", _text(Policy.backoff_max), parse.duration, "Longest delay between two attempts."
    )
    drain: float = option("RELAY_DRAIN", "120s", parse.duration, "Time a stopping worker waits for its calls to end.")
    lease: float = option(
        "RELAY_LEASE", _text(Policy.lease), parse.positive_duration, "Time after which a silent worker loses its jobs."
    )
    batch_size: int = option(
        "RELAY_BATCH_SIZE",
        str(Policy.batch_size),
        parse.integer(1, 100_000),
        "Number of jobs at which a batch is sent.",
    )
    batch_linger: float = option(
        "RELAY_BATCH_LINGER",
        _text(Policy.batch_linger),
        parse.duration,
        "Time after which a batch is sent, however small.",
    )
    batch_poll: tuple[float, float] = option(
        "RELAY_BATCH_POLL",
        _text(*Policy.batch_poll),
        parse.delay_range,
        "First and longest delay between two polls of a batch.",
    )
    batch_margin: float = option(
        "RELAY_BATCH_MARGIN",
        _text(Policy.batch_margin),
        parse.positive_duration,
        "Time before its needBy at which an unfinished batch job is called live.",
    )
    batch_settle: float = option(
        "RELAY_BATCH_SETTLE",
        _text(Policy.batch_settle),
        parse.duration,
        "Minimum time to look for a batch whose creation was not answered.",
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CallbackSettings:
    """Callbacks"""

    webhook_timeout: float = option(
        "RELAY_WEBHOOK_TIMEOUT", "30s", parse.positive_duration, "Maximum time for a webhook to answer."
    )
    webhook_schedule: tuple[float, ...] = option(
        "RELAY_WEBHOOK_SCHEDULE",
        _text(*Policy.webhook_schedule),
        parse.schedule,
        "Delays before each further attempt of a callback; n delays are n + 1 attempts.",
    )
    callback: str = option(
        "RELAY_CALLBACK",
        Policy.callback,
        parse.choice("full", "seed"),
        "full, or seed: only the keys that the Node service sent.",
    )
    callback_max: int = option(
        "RELAY_CALLBACK_MAX",
        format_size(Policy.callback_max),
        parse.size(2**10),
        "Largest callback; a larger one carries a URL from which to fetch the answer.",
    )
    ack_remind: float | None = option(
        "RELAY_ACK_REMIND",
        "off",
        parse.unless_off(parse.positive_duration),
        "Time after which a delivered but unacknowledged callback is sent once more.",
    )
    allow_private_urls: tuple[str, ...] = option(
        "RELAY_ALLOW_PRIVATE_URLS",
        "",
        urls.private,
        "Private hosts, host:port or networks that webhooks and files may reach.",
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class StoreSettings:
    """The store"""

    store: str = option(
        "RELAY_STORE",
        urls.SYSTEM_STORE,
        urls.store,
        "Where jobs are stored: a file (in a checkout ./data/relay.db), or postgresql://USER@HOST/NAME.",
        may_hold_secret=True,
    )
    disk_floor: int = option(
        "RELAY_DISK_FLOOR", "256MiB", parse.size(0), "Minimum free disk; with less, submits get 503."
    )
    retention: float = option(
        "RELAY_RETENTION",
        _text(Policy.retention),
        parse.duration,
        "Jobs are deleted this long after delivery, or after their end if they have no webhook.",
    )
    retention_failed: float = option(
        "RELAY_RETENTION_FAILED",
        _text(Policy.retention_failed),
        parse.duration,
        "Failed jobs and dead callbacks are deleted after this long.",
    )
    tombstones: float = option(
        "RELAY_TOMBSTONES",
        _text(Policy.tombstones),
        parse.duration,
        "How long the requestId of a deleted job stays reserved.",
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LogSettings:
    """Logs and alerts"""

    env: str = option(
        "RELAY_ENV",
        "development",
        parse.choice("development", "production"),
        "development or production; NODE_ENV means the same.",
        aliases=("NODE_ENV",),
    )
    log_level: str = option(
        "LOG_LEVEL",
        "info",
        parse.choice("error", "warn", "info", "debug", warning="warn"),
        "Log level: error, warn, info or debug.",
    )
    log_dir: Path | None = option(
        "RELAY_LOG_DIR",
        "",
        parse.optional(parse.path),
        "Directory for error.log and combined.log, in addition to the console.",
    )
    alert_url: str | None = option(
        "RELAY_ALERT_URL",
        "",
        parse.optional(urls.webhook_url),
        "URL, private or not, that is called when the relay needs an operator.",
        secret=True,
    )
    otel_exporter_otlp_endpoint: str | None = option(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        parse.optional(urls.url),
        "Collector that gets traces as OTLP over HTTP, such as http://127.0.0.1:4318; needs the extra otel.",
    )
    otel_exporter_otlp_headers: tuple[str, ...] = option(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "",
        parse.header_list,
        "Headers for the collector: name=value, comma-separated.",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CliSettings:
    """The command line"""

    url: str | None = option(
        "RELAY_URL", "", parse.optional(urls.url), "Use the relay at this URL instead of this machine's store."
    )
    api_key: str | None = option(
        "RELAY_API_KEY", "", parse.optional(parse.key), "The key for the relay at RELAY_URL.", secret=True
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
    """The options of one section in their order; the docstring of its class is the title."""
    return tuple(replace(entry.metadata["option"], section=section.__doc__ or "") for entry in fields(section))


OPTIONS: tuple[Option, ...] = tuple(row for section in SECTIONS for row in rows(section))
