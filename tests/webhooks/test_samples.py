"""The samples of docs/webhooks.md verify what is sent, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bff_core.webhooks import Signer, new_private_key, new_secret, public_key

DOCUMENT = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
BODY = '{"type":"order.updated","data":{"name":"Käse ✓"}}'
PYTHON = """
import json, sys
from receive import verify
for case in json.load(sys.stdin):
    try:
        print(verify(case["body"].encode(), case["headers"], case["key"]))
    except Exception:
        print("refused")
"""
NODE = """
import { readFileSync } from "node:fs";
import { verify } from "./receive.mjs";
for (const { body, headers, key } of JSON.parse(readFileSync(0, "utf8"))) {
  try { console.log(verify(Buffer.from(body), headers, key)); } catch { console.log("refused"); }
}
"""


def sample(name: str) -> str:
    found = re.search(rf"^```\w+\n((?:#|//) {re.escape(name)}\n.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1]


def cases(new: str, old: str, shown: str) -> list[tuple[dict[str, object], str]]:
    """What is given to a receiver that knows ``shown``, and what it should say."""
    now = int(time.time())

    def given(at: int = now, signer: Signer | None = None, body: str = BODY, **headers: str) -> dict[str, object]:
        signature = (signer or Signer([new, old])).sign("msg_1", at, BODY.encode())
        named = {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        return {"body": body, "key": shown, "headers": named}

    return [
        (given(), "msg_1"),
        (given(body=BODY + " "), "refused"),
        (given(at=now - 400), "refused"),
        (given(at=now + 400), "refused"),
        (given(signer=Signer([new])), "refused"),
        (given(webhook_id="msg_2"), "refused"),
        (given(webhook_timestamp="nan"), "refused"),
        (given(webhook_signature="v1,"), "refused"),
        (given(webhook_signature="v1a,AAAA v1,AAAA"), "refused"),
    ]


def run(command: list[str], folder: Path, told: list[tuple[dict[str, object], str]]) -> None:
    given = json.dumps([case for case, _ in told])
    ran = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [expected for _, expected in told]


def test_python(tmp_path: Path) -> None:
    (tmp_path / "receive.py").write_text(sample("receive.py"))
    secret = new_secret()
    run([sys.executable, "-c", PYTHON], tmp_path, cases(new_secret(), secret, secret))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
@pytest.mark.parametrize("kind", ["v1", "v1a"])
def test_node(tmp_path: Path, kind: str) -> None:
    (tmp_path / "receive.mjs").write_text(sample("receive.mjs"))
    (tmp_path / "run.mjs").write_text(NODE)
    if kind == "v1":
        secret = new_secret()
        run(["node", "run.mjs"], tmp_path, cases(new_secret(), secret, secret))
    else:
        private = new_private_key()
        run(["node", "run.mjs"], tmp_path, cases(new_private_key(), private, public_key(private)))
