"""The shop's files, for tests that write to them."""

from __future__ import annotations

import shutil
from pathlib import Path

# Whoever reads a database makes and removes these meanwhile; of one that is only read they hold nothing.
PASSING = shutil.ignore_patterns("*.db-wal", "*.db-shm")


def copied(seeded: Path, to: Path) -> Path:
    """A copy of the ``seeded`` folder, which others may be reading."""
    return Path(shutil.copytree(seeded, to, ignore=PASSING))
