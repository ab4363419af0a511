"""The file with the definitions: read at the start, and again when it has changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from ..errors import SettingsError
from .definitions import Definitions, read_definitions

__all__ = ["DefinitionsFile"]

log = structlog.get_logger("bff.applife")
MOST_BYTES = 1024 * 1024


class DefinitionsFile:
    """The definitions in the file at ``path`` (``.toml``, else JSON), at most 1 MiB. Raises ``SettingsError`` when they
    cannot be used; later ones that cannot are logged, and those before stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._raw = self._read()
            self.definitions = self._parse(self._raw)
        except (OSError, ValueError) as error:
            raise SettingsError(f"the definitions for apps in {path} cannot be used:\n{error}") from None

    async def refresh(self) -> bool:
        """Read the file; whether there are other definitions now."""
        try:
            raw = await asyncio.to_thread(self._read)
        except (OSError, ValueError) as error:
            self._complain(error, b"")
            return False
        if raw == self._raw:
            return False
        try:
            definitions: Definitions = self._parse(raw)
        except ValueError as error:
            self._complain(error, raw)
            return False
        self._raw, self.definitions = raw, definitions
        log.info("applife.changed", file=str(self._path))
        return True

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ValueError(f"  the file has more than {MOST_BYTES} bytes")
        return raw

    def _parse(self, raw: bytes) -> Definitions:
        return read_definitions(raw, toml=self._path.suffix == ".toml")

    def _complain(self, error: Exception, raw: bytes) -> None:
        """Once for each content: the file is looked at every few seconds."""
        if raw != self._refused:
            self._refused = raw
            log.error("applife.refused", file=str(self._path), error=str(error))

    _refused: bytes | None = None
