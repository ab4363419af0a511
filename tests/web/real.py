"""A provider that nobody here wrote (npm's certified oidc-provider), and a gateway on a real socket with TLS."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent / "provider"
OLDEST_NODE = 20
INSTALL_SECONDS = 180
START_SECONDS = 30


def installed(sources: Path, what: str) -> Path:
    """A folder with the npm packages that ``sources`` locks, installed once for this machine; skips the test when that
    cannot be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"node and npm are not installed, on which {what} runs")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"{what} needs Node {OLDEST_NODE}, here is {version.strip()}")
    lock = (sources / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bff-core-tests"
    folder = cache / f"{what}-{hashlib.sha256(lock).hexdigest()[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=cache))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sources / name, making)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=making, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            shutil.rmtree(making)
            pytest.skip(f"npm could not install {what}: {str(error.stderr or error)[-300:]}")
        try:
            making.rename(folder)
        except OSError:  # somebody else was quicker
            shutil.rmtree(making)
    return folder


def installed_provider() -> Path:
    """The provider's program, under a name of its own: others may be testing another version of it."""
    folder = installed(HERE, "oidc-provider")
    source = (HERE / "server.mjs").read_bytes()
    program = folder / f"server-{hashlib.sha256(source).hexdigest()[:12]}.mjs"
    program.write_bytes(source)
    return program


class RealProvider:
    """The provider's process. ``events`` are what it says of what it does."""

    def __init__(self, process: subprocess.Popen[str], issuer: str) -> None:
        self.process = process
        self.issuer = issuer
        self.events: list[dict[str, Any]] = []

    def count(self, event: str, **fields: str) -> int:
        return sum(found["event"] == event and fields.items() <= found.items() for found in list(self.events))

    def wait_for(self, count: int, event: str) -> None:
        """What it said comes through a pipe, later than its answers."""
        until = time.monotonic() + START_SECONDS
        while self.count(event) < count:
            assert time.monotonic() < until, f"{event} never came"
            time.sleep(0.01)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))


@contextmanager
def real_provider(
    clients: list[dict[str, Any]], *, seconds: int = 600, ca: Path | None = None, dpop_nonces: bool = False
) -> Iterator[RealProvider]:
    """Running, with ``clients``; access tokens last ``seconds``; it trusts what ``ca`` signed; ``dpop_nonces`` has it
    want a nonce in each proof."""
    program = installed_provider()
    told = json.dumps({"clients": clients, "accessTokenSeconds": seconds, "dpopNonces": dpop_nonces})
    env = {"PATH": os.environ["PATH"], "PROVIDER": told, **({"NODE_EXTRA_CA_CERTS": str(ca)} if ca else {})}
    process = subprocess.Popen(
        ["node", program.name],
        cwd=program.parent,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"issuer"'):
                break
        else:
            raise RuntimeError("the provider did not start")
        provider = RealProvider(process, json.loads(line)["issuer"])
        reader = threading.Thread(target=provider.read)
        reader.start()
        yield provider
    finally:
        process.kill()
        process.wait()
    reader.join()
    process.stdout.close()


@contextmanager
def served(app: Any, port: int, certificate: Path | None = None) -> Iterator[None]:
    """``app`` on ``port``, in a thread with a loop of its own."""
    config = uvicorn.Config(
        app,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=str(certificate) if certificate else None,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + START_SECONDS
    while not server.started:
        assert time.monotonic() < until, "the gateway did not start"
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def make_certificate(folder: Path, *names: str) -> Path:
    """A key and a certificate for ``names`` and 127.0.0.1 that vouches for itself, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternative: list[x509.GeneralName] = [x509.DNSName(entry) for entry in names]
    alternative.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "gateway.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return file
