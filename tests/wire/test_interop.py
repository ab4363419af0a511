"""Servers that others wrote: uvicorn (httptools and h11), Node, Go and nginx."""

from __future__ import annotations

import pytest

from .cases import ask, table
from .others import KINDS, Others


@pytest.mark.parametrize(("kind", "name"), table(KINDS))
async def test_they_understand_each_other(make, others: Others, kind: str, name: str) -> None:
    await ask(make, others, kind, name)
