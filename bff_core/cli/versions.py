"""``bff versions``: what changed from version to version, and who still uses what."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from ..app import Bff
from ..auth import stored_keys
from ..versions import ErrorsChanged, Version, Versions
from .gateways import ask
from .partners import when

__all__ = ["versions_table"]


def versions_table(name: str, app: Bff, versions: Versions) -> Table:
    """A row per version. Who uses it is known where the gateway keeps its keys in a database."""
    keys = stored_keys(app.auth)
    uses: list[tuple[str, str, int, float]] = []
    pinned: dict[str, list[str]] = {}
    if keys is not None:

        async def look() -> None:
            uses.extend(await keys.store.version_uses())
            for record in await keys.store.issued():
                if record.version is not None and record.revoked_at is None:
                    pinned.setdefault(record.version, []).append(record.partner)

        ask(keys, look)
    table = Table("version", "what changed", "ends", "used by", "keys pinned to it", title=name, show_lines=True)
    for version in versions.all:
        users = [
            f"{client}: {count}, last {when(last)}" for known, client, count, last in uses if known == version.name
        ]
        table.add_row(
            version.name + (f"\n{version.path}" if version.path is not None else ""),
            escape("\n".join(_changes(version)) or "the oldest"),
            _ends(version),
            escape("\n".join(users)) if keys is not None else "[dim]needs StoredKeys[/]",
            escape("\n".join(dict.fromkeys(pinned.get(version.name, ())))),
        )
    return table


def _changes(version: Version) -> list[str]:
    return [
        f"{change}" if isinstance(change, ErrorsChanged) else f"{change.target.__name__}: {change}"
        for change in version.changes
    ]


def _ends(version: Version) -> str:
    if version.deprecated is None:
        return ""
    sunset = "" if version.sunset is None else f"\nsunset {version.sunset}"
    return f"deprecated {version.deprecated}{sunset}"
