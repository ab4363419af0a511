"""A short one of ``bench.webhooks``: that it still runs, and finds nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.webhooks import Soak, endpoints
from tests.servers import PostgresProcess

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]  # processes start slowly on a busy machine


@pytest.fixture
def server() -> Iterator[PostgresProcess]:
    """A PostgreSQL that may be killed."""
    made = PostgresProcess()
    yield made
    made.close()


async def test_a_little_bad_luck(server: PostgresProcess) -> None:
    """Dead, hanging, slow and flapping endpoints, a dispatcher killed now and then, PostgreSQL once."""
    quick = {"timeout": 1.0, "turn": 0.3, "schedule": [0.1, 0.2, 0.3, 0.5, 0.8], "warn_after": 1, "disable_after": 4}
    outcome = await Soak(
        "small", server.url, endpoints(10), 150, 2, server, kill_every=0.2, most_kills=2, **quick
    ).run()
    assert outcome.faults == []
    assert outcome.killed
    assert outcome.deliveries == 150 * 5
    assert outcome.dead >= 150
