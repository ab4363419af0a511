"""Logs: where they go."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
import structlog
from pydantic import BaseModel

from bff_core.telemetry import configure_logs


def test_that_nobody_reads_hinders_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers that have written to an output which is closed by now go on, and find the one that there is then."""
    configure_logs("test", "INFO")
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    closed = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", closed)
        ours.info("first")
        theirs.info("first")
        closed.close()
        ours.info("lost")
        theirs.info("lost")
    ours.info("second")
    theirs.info("second")
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["second", "second"]
    assert not err


class Amount(BaseModel):
    cents: int


def test_warnings_are_lines_without_the_values_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    """What Python and pydantic would print to standard error."""
    logging.captureWarnings(False)  # whoever switched it on did so under another test's warnings
    with warnings.catch_warnings():
        configure_logs("test", "INFO")
        configure_logs("test", "INFO")
        warnings.simplefilter("always")
        Amount.model_construct(cents="private, input_type=of somebody").model_dump_json()
        warnings.warn("password=hunter2", stacklevel=1)
        logging.captureWarnings(False)
    out, err = capsys.readouterr()
    pydantics, ours = (json.loads(line) for line in out.splitlines())
    assert (pydantics["level"], pydantics["gateway"]) == ("warning", "test")
    assert "cents" in pydantics["event"]
    assert "input_value=[redacted], input_type=str" in pydantics["event"]
    assert "hunter2" not in ours["event"]
    assert not err
