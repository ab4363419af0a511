"""A device: a client of the sync protocol, written from docs/sync.md, with a storage that survives its process."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import httpx

COUNTER = itertools.count(1)


class Device:
    """``data`` is what it has, by collection and id; ``outbox`` the mutations without a final result; ``final`` the
    results of the others by mutation id."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        user: str = "u1",
        name: str | None = None,
        collections: Sequence[str] = ("notes",),
    ) -> None:
        self.http = http
        self.user = user
        self.name = name or f"device-{next(COUNTER)}"
        self.collections: dict[str, Any] = {collection: {} for collection in collections}
        self.schema = 1
        self.limit = 500
        self.token: str | None = None
        self.seq = 0
        self.ack = 0
        self.outbox: list[dict[str, Any]] = []
        self.final: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, dict[str, Any]]] = {}
        self.have = False

    def mutate(self, op: str, *, if_version: str | None = None, **args: Any) -> str:
        """Queue a mutation; gives its id."""
        self.seq += 1
        entry = {"seq": self.seq, "id": f"{self.name}-m{self.seq}", "op": op, "args": args}
        if if_version is not None:
            entry["if_version"] = if_version
        self.outbox.append(entry)
        return str(entry["id"])

    def request(self) -> dict[str, Any]:
        """What it sends now."""
        message: dict[str, Any] = {
            "client": self.name,
            "schema": self.schema,
            "token": self.token,
            "limit": self.limit,
            "collections": self.collections,
            "mutations": self.outbox[:100],
        }
        if self.have and self.token is None:
            message["have"] = {
                name: {key: item["_v"] for key, item in items.items()} for name, items in self.data.items()
            }
        return message

    async def post(self, message: dict[str, Any] | None = None) -> httpx.Response:
        """Ask, without listening to the answer."""
        return await self.http.post("/sync", content=json.dumps(message or self.request()), headers=self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {"x-user": self.user, "content-type": "application/json"}

    def apply(self, answer: dict[str, Any]) -> None:
        """Take an answer in, as one transaction."""
        for result in answer.get("results", ()):
            if result["status"] != "retry" and any(entry["id"] == result["id"] for entry in self.outbox):
                self.outbox = [entry for entry in self.outbox if entry["id"] != result["id"]]
                self.final[result["id"]] = result
        for name, part in answer["collections"].items():
            items = {} if part.get("reset") else self.data.setdefault(name, {})
            self.data[name] = items
            for item in part.get("put", ()):
                items[item["id"]] = item
            for key in part.get("del", ()):
                items.pop(key, None)
        self.token = answer["token"]
        assert answer["ack"] <= self.seq
        self.ack = max(self.ack, answer["ack"])

    async def once(self) -> dict[str, Any]:
        """One exchange; gives the answer."""
        response = await self.post()
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        self.apply(answer)
        return answer

    async def sync(self, most: int = 100) -> dict[str, Any]:
        """Exchange until there is no more; gives the last answer."""
        for _ in range(most):
            answer = await self.once()
            if not answer["more"]:
                return answer
        raise AssertionError("a sync that does not end")

    def texts(self) -> dict[str, str]:
        return {key: item["text"] for key, item in self.data.get("notes", {}).items()}
