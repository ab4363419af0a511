"""What the edge can be told about caps, times and cross-origin calls."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Cors", "Hardening"]

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\*\.)?([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Hardening(BaseModel):
    """How much, and how slow, a request may be. Sizes are bytes, times seconds; a request over a cap is refused before
    it is routed. ``hsts`` is the value of ``Strict-Transport-Security`` ("" for none), which goes with answers to
    requests that came by https, or with every answer when TLS ends at a proxy before the gateway (``behind_tls``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_headers: Annotated[int, Field(ge=1)] = 100
    max_header_bytes: Annotated[int, Field(ge=256)] = 32 * 1024
    max_path: Annotated[int, Field(ge=1)] = 2048
    max_json_depth: Annotated[int, Field(ge=1, le=200)] = 32
    max_json_members: Annotated[int, Field(ge=1)] = 10_000
    header_timeout: Annotated[float, Field(gt=0, le=3600)] = 10.0
    body_timeout: Annotated[float, Field(gt=0, le=3600)] = 10.0
    hsts: Annotated[str, Field(pattern=r"^(max-age=\d+(; includeSubDomains)?(; preload)?)?$")] = "max-age=31536000"
    behind_tls: bool = False


class Cors(BaseModel):
    """Which origins' scripts may read the gateway's answers (Fetch standard, section "CORS protocol").

    ``origins`` are exact (``https://app.example.com``), a pattern for one label (``https://*.example.com``), or
    ``("*",)`` for everybody, which goes with no ``credentials``. ``null`` is never allowed. ``max_age`` is in seconds.
    ``expose`` are the answer's headers that scripts may see.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    origins: Annotated[tuple[str, ...], Field(min_length=1)]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match")
    expose: tuple[str, ...] = ("ETag", "Retry-After", "Server-Timing", "X-Request-ID")
    credentials: bool = False
    max_age: Annotated[int, Field(ge=0, le=86400)] = 600
    private_network: bool = False

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins:
            if len(origins) > 1:
                raise ValueError("'*' is every origin; take the others away, or '*'")
            return origins
        return tuple(_normal_origin(origin) for origin in origins)

    @field_validator("methods", "headers", "expose")
    @classmethod
    def _check_tokens(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        for token in tokens:
            if not _TOKEN.fullmatch(token):
                raise ValueError(f"'{token}' is no name of a method or header")
        return tokens

    @model_validator(mode="after")
    def _check_wildcards(self) -> Self:
        if self.credentials and "*" in (*self.origins, *self.methods, *self.headers, *self.expose):
            raise ValueError("'*' does not go with credentials; list what is allowed")
        if self.private_network and self.origins == ("*",):
            raise ValueError("'*' does not go with private_network; list the origins that may reach into your network")
        return self


def _normal_origin(origin: str) -> str:
    """``origin`` as browsers send it; raises ``ValueError``."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is None or found[1] == "file":
        raise ValueError(f"'{origin}' is no origin; write https://host or https://host:port, without a path")
    scheme, wildcard, host, port = found.groups()
    if wildcard and "." not in host:
        raise ValueError(f"'{origin}' takes in a whole top-level domain; write https://*.your-domain.example")
    suffix = f":{int(port)}" if port and port != _DEFAULT_PORTS.get(scheme) else ""
    return f"{scheme}://{wildcard or ''}{host}{suffix}"
