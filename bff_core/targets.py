"""Where a service is: one URL or several, with weights, or a name that is looked up again and again."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

__all__ = ["Target", "parse_targets"]

SHORTEST = 1.0
HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Target:
    """One URL without its path. ``resolve`` is how often (seconds) its name is looked up again, each address being an
    endpoint of its own; None for never."""

    origin: str
    path: str
    weight: float = 1.0
    resolve: float | None = None


def parse_targets(text: str) -> tuple[Target, ...]:
    """Targets from ``http://a:1,http://b:2;weight=2`` or ``http://name:80;resolve=30``.

    Raises ``ValueError`` that says which part is wrong. All have one scheme and one path.
    """
    targets = tuple(_parse(part.strip()) for part in text.split(","))
    schemes = {target.origin.partition(":")[0] for target in targets}
    if len(schemes) > 1 or len({target.path for target in targets}) > 1:
        raise ValueError("all URLs of a service must have the same scheme and path")
    if len({target.origin for target in targets}) < len(targets):
        raise ValueError("the same URL twice; give it a weight instead")
    return targets


def _parse(part: str) -> Target:
    text, *options = part.split(";")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError(f"not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        raise ValueError("must be http(s)://host[:port][/path], without user, query or fragment")
    if url.port is not None and not 1 <= url.port <= HIGHEST_PORT:
        raise ValueError(f"there is no port {url.port}; write 1 to {HIGHEST_PORT}, such as http://host:8080")
    weight, resolve = 1.0, None
    for option in options:
        name, _, value = option.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"'{option}' is not NAME=NUMBER") from None
        if name == "weight" and 0 < number < float("inf"):
            weight = number
        elif name == "resolve" and SHORTEST <= number < float("inf"):
            resolve = number
        else:
            raise ValueError(f"'{option}' is neither weight=N above 0 nor resolve=SECONDS from {SHORTEST:g}")
    return Target(f"{url.scheme}://{url.netloc.decode()}", url.raw_path.decode().rstrip("/"), weight, resolve)
