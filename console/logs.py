"""Logs: one event a line with its request id; JSON, or coloured when somebody watches at a terminal.

No key and no prompt gets in. Rooms log identifiers, never texts; what slips in through a library's error is cut out
of the finished line.
"""

import logging
import logging.config
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"
_SECRETS = (
    re.compile(r"sk-[A-Za-z0-9_-]{6,}"),
    re.compile(r"(?i)(?<=bearer )[^\s\"'\\]+"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)"),
    re.compile(r"(?<=DETAIL: ).*?(?=\\n|\n|$)"),  # PostgreSQL quotes the row there
)
_SECRET_NAMES = frozenset({"authorization", "x-api-key", "cookie", "set-cookie", "password", "secret", "api_key"})


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG. `config` has `level`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        drop_objects,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    watched = sys.stderr.isatty()
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if watched
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, redact_line],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            "loggers": {
                "django": {"handlers": [], "propagate": True},
                "django.server": {"handlers": [], "propagate": True},
                "django.channels.server": {"level": "WARNING"},
                "daphne": {"level": "WARNING"},
                "asyncio": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "psycopg.pool": {"level": "ERROR"},  # one line a second while PostgreSQL is away
            },
        }
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def drop_objects(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Django hands whole requests to its log calls, and others hand over headers: neither is for a log."""
    for key in ("request", "sql", "params"):
        event.pop(key, None)
    for key in event:
        if key.lower() in _SECRET_NAMES:
            event[key] = HIDDEN
    return event


def redact_line(logger: WrappedLogger, name: str, line: str) -> str:
    for secret in _SECRETS:
        line = secret.sub(HIDDEN, line)
    return line
