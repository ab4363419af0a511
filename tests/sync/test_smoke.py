from __future__ import annotations
import pytest
from .conftest import World

@pytest.mark.anyio
async def test_smoke(world: World) -> None:
    world.shop.fill("u1", 50)
    d = world.device()
    a = await d.sync()
    assert d.texts() == world.shop.texts("u1")
    world.shop.forget()
    r = await d.post()
    print(r.text, len(r.content))
    assert set(world.shop.statuses) == {304}
    d.mutate("note.add", note={"text": "hi"})
    d.mutate("note.append", note_id="n1", text={"text": "!"})
    a = await d.sync()
    print(a)
    assert d.texts() == world.shop.texts("u1")
    assert d.ack == 2
