"""Definitions, the gate's decision and flags: pure."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import Principal
from bff_core.applife.definitions import Definitions, Flag, read_definitions
from bff_core.applife.flags import Subject, bucket, evaluate, evaluate_all
from bff_core.applife.gate import decide
from bff_core.applife.version import ClientApp, parse_app, parse_version

GATE = {"ios": {"minimum": "3.0.0", "latest": "3.4.1", "store": "https://store.example/app"}}
NOBODY = Subject(None, None, None)


def app(text: str) -> ClientApp | None:
    return parse_app(text.encode())


@pytest.mark.parametrize(
    ("said", "update"),
    [
        ("ios/2.9.9", "required"),
        ("ios/3.0.0-rc.1", "required"),
        ("ios/3.0.0", "available"),
        ("ios/3.4", "available"),
        ("ios/3.4.1", "none"),
        ("ios/4", "none"),
        ("ios/nightly", "none"),
        ("android/1.0", "none"),
        ("nonsense", "none"),
    ],
)
def test_the_gate(said: str, update: str) -> None:
    verdict = decide(Definitions.model_validate({"gate": GATE}), app(said))
    assert verdict.update == update


def test_a_gate_with_one_limit() -> None:
    store = "market://details?id=x"
    only_latest = Definitions.model_validate({"gate": {"ios": {"latest": "2", "store": store}}})
    only_minimum = Definitions.model_validate({"gate": {"ios": {"minimum": "2", "store": store}}})
    assert [decide(only_latest, app(f"ios/{v}")).update for v in (1, 2)] == ["available", "none"]
    assert [decide(only_minimum, app(f"ios/{v}")).update for v in (1, 2)] == ["required", "none"]


def flag(*rules: dict[str, Any]) -> Flag:
    return Flag.model_validate({"variants": {"on": True, "off": False}, "default": "off", "rules": list(rules)})


ANNA = Principal(
    "anna", scopes=frozenset({"read"}), tenant="acme", claims={"plan": "pro", "groups": ["a", "b"], "n": 1}
)


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        ({}, True),
        ({"platforms": ["ios", "android"]}, True),
        ({"platforms": ["android"]}, False),
        ({"from_version": "3.4"}, True),
        ({"from_version": "3.4.1"}, False),
        ({"below_version": "3.4"}, False),
        ({"below_version": "3.4.1"}, True),
        ({"attributes": {"plan": ["free", "pro"]}}, True),
        ({"attributes": {"plan": ["free"]}}, False),
        ({"attributes": {"groups": ["b"]}}, True),
        ({"attributes": {"scopes": ["read"], "tenant": ["acme"], "subject": ["anna"], "kind": ["user"]}}, True),
        ({"attributes": {"plan": ["pro"], "tenant": ["other"]}}, False),
        ({"attributes": {"n": [1]}}, True),
        ({"attributes": {"n": [True]}}, False),
        ({"attributes": {"missing": ["x"]}}, False),
        ({"percent": 0}, False),
        ({"percent": 100}, True),
    ],
)
def test_rules(rule: dict[str, Any], applies: bool) -> None:
    subject = Subject(app("ios/3.4.0"), ANNA, "anna")
    assert evaluate("f", flag({"variant": "on", **rule}), subject).value is applies


@pytest.mark.parametrize(
    "rule", [{"platforms": ["ios"]}, {"from_version": "0"}, {"attributes": {"plan": ["pro"]}}, {"percent": 99.9}]
)
def test_who_says_nothing_is_targeted_by_nothing(rule: dict[str, Any]) -> None:
    assert evaluate("f", flag({"variant": "on", **rule}), NOBODY).value is False
    unreadable = Subject(ClientApp("web", None), None, None)
    assert evaluate("f", flag({"variant": "on", **rule}), unreadable).value is False


def test_the_first_rule_that_applies_wins() -> None:
    rules = flag({"variant": "off", "platforms": ["ios"]}, {"variant": "on"})
    assert evaluate("f", rules, Subject(app("ios/1"), None, None)) == (False, "off", "TARGETING_MATCH")
    assert evaluate("f", rules, NOBODY) == (True, "on", "TARGETING_MATCH")


def test_reasons() -> None:
    definitions = Definitions.model_validate({
        "config": {"n": {"a": [1]}},
        "flags": {
            "plain": {"variants": {"x": "text"}, "default": "x"},
            "nobody": {"variants": {"x": 1, "y": 2.5}, "default": "x", "rules": [{"variant": "y", "percent": 0}]},
            "split": {"variants": {"x": 1, "y": 2}, "default": "x", "rules": [{"variant": "y", "percent": 99.999999}]},
        },
    })  # fmt: skip
    found = evaluate_all(definitions, Subject(None, None, "key"))
    assert list(found.items()) == [
        ("n", ({"a": [1]}, "config", "STATIC")),
        ("plain", ("text", "x", "STATIC")),
        ("nobody", (1, "x", "DEFAULT")),
        ("split", (2, "y", "SPLIT")),
    ]


@given(st.text(max_size=20), st.text(max_size=40), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_share_takes_nobody_away(name: str, key: str, a: float, b: float) -> None:
    low, high = sorted([a, b])
    in_low, in_high = (
        evaluate(name, flag({"variant": "on", "percent": share}), Subject(None, None, key)).value
        for share in (low, high)
    )
    assert in_high or not in_low
    assert 0 <= bucket(name, key) < 100


def test_shares_are_shares_and_unrelated() -> None:
    keys = [f"user-{number}" for number in range(10_000)]
    one, other = ({key for key in keys if bucket(name, key) < 20} for name in ("one", "other"))
    assert 1850 < len(one) < 2150
    assert 300 < len(one & other) < 500, "a fifth of a fifth"
    # Where a user stands is for good, whichever replica is asked: what apps have seen must not change.
    assert bucket("one", "user-1") == pytest.approx(7.93183, abs=1e-5)


WRONG = [
    ('{"gates": {}}', "gates"),
    ('{"gate": {"ios": {"minimum": "3.x", "store": "https://s"}}}', "'3.x' is no version"),
    ('{"gate": {"ios": {"minimum": "3"}}}', "gate.ios.store"),
    ('{"gate": {"ios": {"minimum": "3", "store": "s"}}}', "gate.ios.store"),
    ('{"gate": {"iOS": {"store": "https://s"}}}', "gate.iOS"),
    ('{"gate": {"ios": {"minimum": "3", "latest": "2", "store": "https://s"}}}', "minimum 3 is above latest 2"),
    ('{"flags": {"f": {"variants": {}, "default": "x"}}}', "flags.f.variants"),
    ('{"flags": {"f": {"variants": {"x": 1}, "default": "y"}}}', "no variant 'y'; there is: x"),
    ('{"flags": {"f": {"variants": {"x": 1}, "default": "x", "rules": [{"variant": "z"}]}}}', "no variant 'z'"),
    ('{"flags": {"f": {"variants": {"x": 1, "y": "1"}, "default": "x"}}}', "of one type, not number and string"),
    ('{"flags": {"f": {"variants": {"x": null}, "default": "x"}}}', "of one type"),
    ('{"flags": {"f": {"variants": {"x": true, "y": 1}, "default": "x"}}}', "not boolean and number"),
    ('{"flags": {"f g": {"variants": {"x": 1}, "default": "x"}}}', "flags.f g"),
    (
        '{"flags": {"f": {"variants": {"x": 1}, "default": "x", "rules": [{"variant": "x", "percent": 101}]}}}',
        "percent",
    ),
    ('{"flags": {"f": {"variants": {"x": 1}, "default": "x"}}, "config": {"f": 1}}', "'f' is both"),
    ("[]", "the file"),
    ("{", "Expecting"),
    ("[" * 100_000, ""),
    ("\ud800", ""),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_definitions_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as error:
        read_definitions(text.encode(errors="surrogatepass"), toml=False)
    assert message in str(error.value)


WORDS = st.sampled_from(["gate", "flags", "config", "ios", "f", "store", "variants", "rules"])
FILES = st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(WORDS, inner))


@given(st.binary(max_size=100) | FILES.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_read_or_refused(raw: bytes) -> None:
    for toml in (True, False):
        with suppress(ValueError):
            read_definitions(raw, toml=toml)


def test_toml() -> None:
    found = read_definitions(b'[gate.ios]\nminimum = "1"\nstore = "https://s"\n[config]\na = [1, 2.5]\n', toml=True)
    assert (found.gate["ios"].minimum, found.config) == ("1", {"a": [1, 2.5]})
    assert found.gate["ios"].asks(parse_version("0.9") or ((), True, ())) == "required"
    with pytest.raises(ValueError, match=r"config\.a"):
        read_definitions(b"[config]\na = nan\n", toml=True)
    with pytest.raises(ValueError, match=r"config\.a"):
        read_definitions(b"[config]\na = 2020-01-01\n", toml=True)
