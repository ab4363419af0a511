"""Logs: where they go."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

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
