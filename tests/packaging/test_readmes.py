"""The gateways' READMEs against the code."""

from __future__ import annotations

import importlib
import re

import pytest

from tests.packaging.environments import GATEWAYS, ROOT


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_readme_has_every_endpoint_and_setting(name: str) -> None:
    """Its tables name the pages and settings there are, say who may ask, and name no others."""
    text = (ROOT / "bffs" / name / "README.md").read_text()
    module = importlib.import_module(f"bffs.{name}.app")
    rows = dict(re.findall(r"^\| `((?:GET|POST|PUT) \S+)` \|.*\| (.+) \|$", text, re.MULTILINE))
    assert list(rows) == [f"{page.method} {page.path}" for page in module.app.pages]
    for page in module.app.pages:
        who = rows[f"{page.method} {page.path}"]
        assert (who == "anybody") == (not page.direct.private), page.path
    fields = {f"BFF_{field.upper()}" for field in type(module.settings).model_fields} - {"BFF_SERVICES"}
    assert set(re.findall(r"`(BFF_[A-Z_]+?)`", text)) == fields | {"BFF_SETTINGS_FILE"}
    (services,) = re.findall(r"where a service is: (.+) \|", text)
    assert services.split(", ") == list(module.settings.services)
    (deadline,) = re.findall(r"`BFF_DEADLINE` \| (\S+) ", text)
    assert float(deadline) == module.settings.deadline
