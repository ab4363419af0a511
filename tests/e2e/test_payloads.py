"""What docs/lean.md says of the payloads, against the running shop."""

from __future__ import annotations

import httpx
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


def test_short_answers_over_one_connection(project: Project) -> None:
    """A 304, a HEAD and a batch leave the connection where the next answer begins."""
    with httpx.Client(base_url=project.url("mobile"), timeout=20) as client:
        first = client.get("/products/p1")
        known = client.get("/products/p1", headers={"if-none-match": first.headers["etag"]})
        head = client.head("/products", headers={"accept-encoding": "br"})
        batch = client.post(
            "/batch", json={"items": [{"path": f"/products/p{number}?fields=price.amount"} for number in range(1, 21)]}
        )
        again = client.get("/products/p1")
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (head.status_code, head.content, head.headers["content-encoding"]) == (200, b"", "br")
    assert [set(item["body"]["price"]) for item in batch.json()["items"]] == [{"amount"}] * 20
    assert again.content == first.content
