"""Access tokens for the seeded users, the keys to verify them with, and the provider at which browsers sign in."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import BaseModel, ConfigDict

from ..models import User
from ..seed import seed
from ..seeding.database import connect
from .base import Service
from .openid import Demo, OpenIdProvider
from .problems import not_found

__all__ = ["AUDIENCE", "ISSUER", "create_app", "issue_token"]

ISSUER = "https://identity.shop.example"
AUDIENCE = "shop"
LIFETIME = 3600
GUESTS = 8


class TokenRequest(BaseModel):
    """Whose token; the demo asks for no password."""

    model_config = ConfigDict(extra="forbid")

    user_id: str


class Token(BaseModel):
    """RFC 6749 section 5.1."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of the scheme
    expires_in: int = LIFETIME


def signing_key(data: Path) -> RSAKey:
    """The issuer's private key: made once, kept in a file that only its owner can read."""
    data.mkdir(parents=True, exist_ok=True)
    file = data / "identity-key.pem"
    if not file.exists():
        scratch = data / f".identity-key-{os.getpid()}-{uuid4().hex}"
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(RSAKey.generate_key(2048).as_pem(private=True))
        try:
            # A link fails when another process was first; its key is then everybody's.
            file.hardlink_to(scratch)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return _key(file.read_bytes())


@cache
def _key(pem: bytes) -> RSAKey:
    """To read one is to check that its primes are."""
    key = RSAKey.import_key(pem, {"use": "sig", "alg": "RS256"})
    key.ensure_kid()
    return key


def issue_token(data: Path, user_id: str, *, lifetime: int = LIFETIME) -> str:
    """A signed access token for a seeded user; raises ``LookupError`` when there is no such user."""
    seed(data)
    connection = connect(data / "users.db")
    try:
        row = connection.execute("SELECT document FROM users WHERE id = ?", (user_id,)).fetchone()
    finally:
        connection.close()
    if row is None:
        raise LookupError(user_id)
    return _sign(signing_key(data), User.model_validate_json(row["document"]), lifetime)


def _sign(key: RSAKey, user: User, lifetime: int) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user.id,
        "iat": now,
        "exp": now + lifetime,
        "jti": uuid4().hex,
        "scope": "shop",
        "name": user.name,
    }
    return jwt.encode({"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}, claims, key)


def _guests(data: Path) -> list[User]:
    """Those of the seeded users who can sign in at the demo: the first few."""
    connection = connect(data / "users.db")
    try:
        rows = connection.execute("SELECT document FROM users ORDER BY seq LIMIT ?", (GUESTS,)).fetchall()
    finally:
        connection.close()
    return [User.model_validate_json(row["document"]) for row in rows]


def create_app(data: Path, *, faults: bool = False, demo: Demo | None = None) -> FastAPI:
    """The identity service; ``demo`` says where browsers find it and the web gateway."""
    app = Service("identity", data, faults=faults, database=False)
    key = signing_key(data)
    public = key.as_dict(private=False)

    @app.post("/token")
    async def token(request: TokenRequest) -> Token:
        try:
            return Token(access_token=issue_token(data, request.user_id))
        except LookupError:
            raise not_found("user") from None

    @app.get("/.well-known/jwks.json")
    async def jwks() -> dict[str, Any]:
        return {"keys": [public]}

    guests = _guests(data)
    provider = OpenIdProvider(
        demo or Demo.from_environment(), key, lambda: guests, lambda user, lifetime: _sign(key, user, lifetime)
    )
    provider.mount(app)
    return app
