"""Our distributions, and environments with nothing else in them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GATEWAYS = ("mobile", "web", "partner")
SOURCES = {"bff-core": ".", "shop-clients": "shop"} | {f"bff-{name}": f"bffs/{name}" for name in GATEWAYS}


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without what points Python or a gateway anywhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "BFF_", "SHOP_", "VIRTUAL_ENV"))}
    return kept | more


def needed(requirements: list[str], extras: Collection[str] = ()) -> set[str]:
    """The distributions that installing ``requirements`` brings, also those of ``extras``, by the metadata of those in
    this environment."""
    found: set[str] = set()
    todo = [(Requirement(text), extra) for text in requirements for extra in ("", *extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found.add(name)
        inner = metadata.distribution(name).requires or []
        todo += [(Requirement(text), one) for text in inner for one in ("", *requirement.extras)]
    return found


def link(distribution: metadata.Distribution, target: Path) -> None:
    """Link the files of ``distribution`` into the site-packages ``target``; no ``.pth`` among them."""
    for top in {file.parts[0] for file in distribution.files or []}:
        if top in ("..", "__pycache__") or top.endswith(".pth") or (target / top).exists():
            continue
        (target / top).symlink_to(Path(str(distribution.locate_file(top))))
