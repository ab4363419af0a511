"""``python -m shop.services NAME``: one service, or ``all`` of them, one process each."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import uvicorn

from ..ports import PORTS
from ..seed import default_data, seed


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m shop.services", description=__doc__)
    parser.add_argument("service", choices=[*PORTS, "all"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="default: the service's own, moved with --port-base")
    parser.add_argument("--port-base", type=int, default=8000, help="moves all ports: base + 1000 and up")
    parser.add_argument("--data", type=Path, default=default_data(), help="where the SQLite files are")
    parser.add_argument("--faults", action="store_true", help="allow PUT /_faults to play outages")
    options = parser.parse_args()
    if options.service == "all":
        return _run_all(options)
    offset = options.port_base - 8000
    os.environ.setdefault("SHOP_WEB_URL", f"http://127.0.0.1:{8002 + offset}")
    for name in ("identity", "catalog", "inventory", "payments"):
        os.environ.setdefault(f"SHOP_{name.upper()}_URL", f"http://127.0.0.1:{PORTS[name] + offset}")
    create_app = importlib.import_module(f"shop.services.{options.service}").create_app
    uvicorn.run(
        create_app(options.data, faults=options.faults),
        host=options.host,
        port=options.port or PORTS[options.service] + offset,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
    return 0


def _run_all(options: argparse.Namespace) -> int:
    seed(options.data)
    common = ["--host", options.host, "--port-base", str(options.port_base), "--data", str(options.data)]
    common += ["--faults"] if options.faults else []
    children = [subprocess.Popen([sys.executable, "-m", "shop.services", name, *common]) for name in PORTS]  # noqa: S603

    def stop(*_: object) -> None:
        for child in children:
            child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return max(abs(child.wait()) for child in children)


if __name__ == "__main__":
    sys.exit(main())
