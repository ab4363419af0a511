"""Which names a gateway answers to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import SettingsError

__all__ = ["HostRule"]

_HOST = re.compile(rb"((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PATTERN = re.compile(r"\*|(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\]")
_ADDRESS = re.compile(r"[0-9.]+|\[.*\]")
# Names that public DNS gives to nobody: RFC 6761, RFC 2606, RFC 6762, ICANN's .internal.
_LOCAL_DOMAINS = frozenset({"localhost", "test", "example", "invalid", "local", "internal", "home.arpa"})
_REMEMBERED = 256


class HostRule:
    """Says whether a ``Host`` is one of ours.

    ``allowed`` are names (``api.example.com``), patterns for one label (``*.example.com``) or ``*``. When it is empty,
    only addresses and names that public DNS cannot hand out are: nobody can point a name of their own at a gateway
    that was never told its name (DNS rebinding, poisoned links). Raises ``SettingsError``.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        names = {name.lower() for name in allowed}
        if wrong := sorted(name for name in names if not _PATTERN.fullmatch(name)):
            raise SettingsError(f"allowed_hosts: '{wrong[0]}' is no host name; write api.example.com or *.example.com")
        self._any = "*" in names
        self._names = names
        self._known: set[bytes] = set()

    def allows(self, host: bytes) -> bool | None:
        """Whether this value of ``Host`` (RFC 9110 section 7.2) is ours; None when it is no host at all."""
        if host in self._known:
            return True
        found = _HOST.fullmatch(host)
        if found is None:
            return None
        allowed = self._any or self._named(found[1].decode().lower().removesuffix("."))
        if allowed and len(self._known) < _REMEMBERED:
            self._known.add(host)
        return allowed

    def _named(self, name: str) -> bool:
        if self._names:
            return name in self._names or f"*.{name.partition('.')[2]}" in self._names
        if "." not in name or _ADDRESS.fullmatch(name):
            return True
        return name.rpartition(".")[2] in _LOCAL_DOMAINS or name.endswith(".home.arpa")
