"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import TextIO, cast

import structlog

from .redact import REDACTED, redact

__all__ = ["configure_logs"]


class _Output:
    """Standard output, whichever it is by now. That nobody reads it any more must not fail what is being logged."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()


OUTPUT = _Output()
# Up to the last one: a value may hold what looks like its end.
_VALUE = re.compile(r"(input_value=).*(, input_type=)", re.DOTALL)


def configure_logs(gateway: str, level: str) -> None:
    """Send structlog's and the standard library's records, and Python's warnings, to standard output as JSON with the
    gateway's name."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without local variables: they hold tokens and personal data.
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
        redact,
    ]
    # Pure ASCII: no client's text is a line end, a terminal's command or an unencodable half of a character.
    render = structlog.processors.JSONRenderer(ensure_ascii=True, default=str)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", OUTPUT)),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(gateway=gateway)
    handler = logging.StreamHandler(OUTPUT)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addFilter(_without_values)


def _without_values(record: logging.LogRecord) -> bool:
    """Pydantic's warnings show the value that is not what it should be."""
    record.msg, record.args = _VALUE.sub(rf"\1{REDACTED}\2", record.getMessage()), ()
    return True
