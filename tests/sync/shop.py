"""A model shop: notes that users list and change, over httpx's mock transport, with every fault on request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

import httpx
from fastapi import Header
from pydantic import BaseModel

from bff_core import Collection, Principal, ServiceClient, get, mutation, patch, post, put


class Note(BaseModel):
    id: str
    text: str
    rank: int = 0
    owner: str = ""


class Notes(BaseModel):
    items: list[Note]
    next: str | None = None


class Text(BaseModel):
    text: str


class Tag(BaseModel):
    name: str
    color: str


class NoteView(BaseModel):
    """What the app gets of a note."""

    id: str
    text: str
    rank: int = 0


class TagView(BaseModel):
    name: str
    color: str


class NotesService(ServiceClient, service="notes"):
    @get("/users/{user_id}/notes")
    async def of_user(self, user_id: str, cursor: str | None = None, limit: int = 20) -> Notes: ...

    @get("/users/{user_id}/notes/{note_id}")
    async def note(self, user_id: str, note_id: str) -> Note: ...

    @post("/users/{user_id}/notes")
    async def add(self, user_id: str, note: Text, idempotency_key: Annotated[str, Header()]) -> Note: ...

    @post("/users/{user_id}/notes/{note_id}/append")
    async def append(
        self, user_id: str, note_id: str, text: Text, idempotency_key: Annotated[str, Header()]
    ) -> None: ...

    @put("/users/{user_id}/notes/{note_id}")
    async def write(self, user_id: str, note_id: str, text: Text) -> Note: ...

    @patch("/users/{user_id}/notes/{note_id}/bump")
    async def bump(self, user_id: str, note_id: str) -> None: ...


class TagsService(ServiceClient, service="tags"):
    @get("/tags")
    async def all(self) -> list[Tag]: ...


def user(principal: Principal) -> str:
    return principal.subject


def view(note: Note) -> NoteView:
    return NoteView(id=note.id, text=note.text, rank=note.rank)


def collections(*, limit: int = 20, confirm_after: float = 60.0) -> list[Collection]:
    notes = Collection(
        "notes",
        NotesService.of_user,
        NoteView,
        project=view,
        lookup=NotesService.note,
        confirm_after=confirm_after,
        user_id=user,
        limit=limit,
    )
    return [notes, Collection("tags", TagsService.all, TagView, key="name")]


def mutations() -> list[Any]:
    return [
        mutation("note.add", NotesService.add, touches=["notes"], user_id=user),
        mutation("note.append", NotesService.append, touches=["notes"], item="note_id", user_id=user),
        mutation("note.write", NotesService.write, touches=["notes"], item="note_id", user_id=user),
        mutation("note.bump", NotesService.bump, touches=["notes"], user_id=user),
    ]


Fault = Callable[[httpx.Request], httpx.Response | Exception | None]


class Shop:
    """``notes`` by user and id, in the order of the listing. ``before`` may answer a request, or raise, before anything
    happens; ``after`` once it has happened (an answer that is lost). ``requests`` are all that came, ``statuses`` what
    was answered. Cursors are offsets, so that items do shift between pages."""

    def __init__(self) -> None:
        self.notes: dict[str, dict[str, dict[str, Any]]] = {}
        self.tags: list[dict[str, str]] = []
        self.keys: dict[str, tuple[int, Any]] = {}
        self.effects: list[str] = []
        self.requests: list[httpx.Request] = []
        self.statuses: list[int] = []
        self.before: Fault = lambda _: None
        self.after: Fault = lambda _: None
        self.transport = httpx.MockTransport(self.handle)
        self.settings = {"notes": {"url": "http://notes.test"}, "tags": {"url": "http://tags.test"}}

    def put(self, user_id: str, note_id: str, text: str, rank: int = 0) -> None:
        self.notes.setdefault(user_id, {})[note_id] = {"id": note_id, "text": text, "rank": rank, "owner": user_id}

    def fill(self, user_id: str, count: int) -> None:
        for number in range(count):
            self.put(user_id, f"n{number}", f"text {number}")

    def texts(self, user_id: str) -> dict[str, str]:
        return {key: note["text"] for key, note in self.notes.get(user_id, {}).items()}

    def forget(self) -> None:
        self.requests.clear()
        self.statuses.clear()

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = _raised(self.before(request)) or self._serve(request)
        response = _raised(self.after(request)) or response
        self.statuses.append(response.status_code)
        return response

    def _serve(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "tags.test":
            return _tagged(request, self.tags)
        _, _, user_id, _, *rest = request.url.path.split("/")
        notes = self.notes.setdefault(user_id, {})
        if request.method == "GET" and not rest:
            return self._list(request, list(notes.values()))
        key = request.headers.get("idempotency-key")
        if key is not None and key in self.keys:
            return httpx.Response(self.keys[key][0], json=self.keys[key][1])
        status, answer = self._change(request, user_id, notes, rest)
        if key is not None and status < 500:
            self.keys[key] = (status, answer)
        return httpx.Response(status, json=answer)

    @staticmethod
    def _list(request: httpx.Request, notes: list[dict[str, Any]]) -> httpx.Response:
        start, limit = int(request.url.params.get("cursor", 0)), int(request.url.params.get("limit", 20))
        more = str(start + limit) if start + limit < len(notes) else None
        return _tagged(request, {"items": notes[start : start + limit], "next": more})

    def _change(
        self, request: httpx.Request, user_id: str, notes: dict[str, dict[str, Any]], rest: list[str]
    ) -> tuple[int, Any]:
        body = json.loads(request.content) if request.content else {}
        if request.method == "POST" and not rest:
            note_id = f"n-{hashlib.sha256(request.headers['idempotency-key'].encode()).hexdigest()[:8]}"
            self.put(user_id, note_id, body["text"])
            self.effects.append(body["text"])
            return 201, notes[note_id]
        note = notes.get(rest[0])
        if note is None:
            return 404, {"title": "Not Found", "detail": "There is no such note."}
        if request.method == "GET":
            return 200, note
        if body.get("text") == "forbidden":
            return 422, {"title": "No", "detail": "This word is not allowed."}
        if body.get("text") == "locked":
            return 409, {"title": "Conflict", "detail": "The note is locked."}
        self.effects.append(body.get("text", "bump"))
        if rest[1:] == ["append"]:
            note["text"] += body["text"]
        elif rest[1:] == ["bump"]:
            note["rank"] += 1
        else:
            note["text"] = body["text"]
        return 200, note


def _raised(fault: httpx.Response | Exception | None) -> httpx.Response | None:
    if isinstance(fault, Exception):
        raise fault
    return fault


def _tagged(request: httpx.Request, value: Any) -> httpx.Response:
    body = json.dumps(value).encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == etag:
        return httpx.Response(304, headers={"etag": etag})
    return httpx.Response(200, content=body, headers={"content-type": "application/json", "etag": etag})
