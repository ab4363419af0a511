"""What docs/lean.md says of the payloads, against the running shop."""

from __future__ import annotations

import pytest

from bench.payloads import documented, measure

from .conftest import Project

pytestmark = pytest.mark.e2e
PRODUCT = 200


def test_the_payloads_are_what_the_document_says(project: Project) -> None:
    """Within a tenth; a product of the app is at most 200 bytes of JSON."""
    said = documented()
    found = {row.page: row.numbers for row in measure(project.base, project.data)}
    assert found.keys() == said.keys()
    for page, numbers in found.items():
        assert numbers == pytest.approx(said[page], rel=0.1), page
    assert found["product"][0] <= PRODUCT
