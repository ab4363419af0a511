"""What is in the wheels, and what they ask for."""

from __future__ import annotations

import zipfile
from pathlib import Path

GATEWAYS = ["mobile", "web", "partner"]


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def requirements(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        lines = archive.read(name).decode().splitlines()
    return {line.split(": ")[1] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line}


EXTRAS = {"mobile": "compression,metrics", "web": "compression,metrics,ssr", "partner": "metrics,sql"}


def test_what_is_in_them(wheels: dict[str, Path]) -> None:
    """Each holds its own and nothing else."""
    assert files(wheels["shop-clients"]) == {"shop/__init__.py", "shop/clients.py", "shop/models.py", "shop/ports.py"}
    assert all(name.startswith("bff_core/") for name in files(wheels["bff-core"]))
    assert {"bff_core/app.py", "bff_core/py.typed", "bff_core/cli/__main__.py"} <= files(wheels["bff-core"])
    for name in GATEWAYS:
        own = files(wheels[f"bff-{name}"])
        assert f"bffs/{name}/app.py" in own
        assert all(entry.startswith(f"bffs/{name}/") for entry in own)
        assert requirements(wheels[f"bff-{name}"]) == {f"bff-core[{EXTRAS[name]}]>=0.1", "shop-clients>=0.1"}
    assert requirements(wheels["shop-clients"]) == {"bff-core>=0.1"}
