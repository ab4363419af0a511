"""``bff partners``: the API keys of a gateway that keeps them in a database."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..app import Bff
from ..auth import KeyRecord, StoredKeys, stored_keys
from ..errors import DeclarationError, SettingsError
from ..limits import check_plan
from .config import load_project
from .gateways import ask, load_gateway, names_of
from .tables import print_table

__all__ = ["partners", "when"]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
partners = typer.Typer(no_args_is_help=True, help="Issue, list, rotate and revoke the API keys of partners.")
console = Console()
Gateway = Annotated[
    str | None, typer.Option(help="Whose keys (or module:app); needed when several gateways have some.")
]
KeyId = Annotated[str, typer.Argument(help="The key's id, such as key_5d0c…; see `bff partners list`.")]


@partners.command("issue")
def issue_command(
    partner: Annotated[str, typer.Argument(help="Whom the key stands for.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope; may be given several times.")] = None,
    plan: Annotated[str | None, typer.Option(help="The usage plan.")] = None,
    version: Annotated[str | None, typer.Option(help="The API version it is pinned to.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Another tenant than the partner's own.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, 12h.")] = None,
    test: Annotated[bool, typer.Option("--test", help="A key for tests, bff_test_….")] = False,
    gateway: Gateway = None,
) -> None:
    """Issue a key. It is shown once."""
    app, keys = _gateway(gateway)
    if version is not None:
        version = _known_version(app, version)
    _check_plan(app, plan)
    ends = None if expires is None else seconds(expires)
    try:
        key, record = ask(
            keys,
            lambda: keys.store.issue(
                partner,
                tenant=tenant,
                name=name,
                scopes=scope or (),
                plan=plan,
                version=version,
                expires_in=ends,
                environment="test" if test else "live",
            ),
        )
    except ValueError as error:
        raise SettingsError(f"{error}; give the key another one with --tenant, or name the partner otherwise") from None
    _show_once(key, record)


@partners.command("list")
def list_command(
    partner: Annotated[str | None, typer.Argument(help="Only this partner's.")] = None, gateway: Gateway = None
) -> None:
    """Show what is known of the keys; the keys themselves nobody knows."""
    keys = _gateway(gateway)[1]
    records = ask(keys, lambda: keys.store.issued(partner))
    table = Table("partner", "id", "key", "name", "state", "scopes", "plan", "version", "expires", "last used")
    now = datetime.now(UTC).timestamp()
    for record in records:
        state = record.state(now)
        table.add_row(
            *(escape(text) for text in (record.partner, record.id, f"{record.hint}…", record.name)),
            f"{state}, rotated" if record.replaced_by is not None and state == "active" else state,
            *(escape(text) for text in (" ".join(sorted(record.scopes)), record.plan or "", record.version or "")),
            when(record.expires_at),
            when(record.last_used_at),
        )
    print_table(console, table)


@partners.command("rotate")
def rotate_command(
    key_id: KeyId,
    grace: Annotated[str, typer.Option(help="How long the old one goes on: 7d, 1h, 0s.")] = "7d",
    gateway: Gateway = None,
) -> None:
    """Issue a key like this one, which goes on for a while."""
    keys = _gateway(gateway)[1]
    pause = seconds(grace)
    try:
        key, record = ask(keys, lambda: keys.store.rotate(key_id, grace=pause))
    except LookupError as error:
        raise SettingsError(f"{error.args[0]}; see: bff partners list") from None
    _show_once(key, record)


@partners.command("revoke")
def revoke_command(key_id: KeyId, gateway: Gateway = None) -> None:
    """End a key now; replicas know within seconds."""
    keys = _gateway(gateway)[1]
    if not ask(keys, lambda: keys.store.revoke(key_id)):
        raise SettingsError(f"there is no key '{key_id}' that is not revoked; see: bff partners list")
    console.print(f"{key_id} is revoked; gateways know within {keys.ttl:g} s.")


@partners.command("plan")
def plan_command(
    tenant: Annotated[str, typer.Argument(help="Whose plan; a partner's, unless its keys have another tenant.")],
    plan: Annotated[str | None, typer.Argument(help="The plan's name; without one it is shown.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="A limit of its own, month=2000000 or throttle=500/second; several times.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Back to what the keys say.")] = False,
    gateway: Gateway = None,
) -> None:
    """Show or change what a tenant has booked, for all its keys and tokens."""
    app, keys = _gateway(gateway)
    if remove:
        if not ask(keys, lambda: keys.store.plans.remove(tenant)):
            raise SettingsError(f"'{tenant}' has booked nothing")
    elif plan is not None or limit:
        own = dict(_limit(text) for text in limit or ())
        _check_plan(app, plan, own)
        try:
            ask(keys, lambda: keys.store.plans.put(tenant, plan, own))
        except ValueError as error:
            raise SettingsError(str(error)) from None
    else:
        booked = ask(keys, lambda: keys.store.plans.of(tenant))
        own = dict(booked.limits or {}) if booked is not None else {}
        plan = booked.plan if booked is not None else None
        console.print(f"{tenant}: {plan or 'no plan'}{''.join(f', {name}={own[name]}' for name in own)}", markup=False)
        return
    console.print(f"changed; gateways know within {keys.ttl:g} s.")


def _limit(text: str) -> tuple[str, int | str | None]:
    """``month=2000000``, ``throttle=500/second``, ``month=none``."""
    name, found, value = text.partition("=")
    if not found:
        raise SettingsError(f"'{text}' is no limit; say month=2000000, throttle=500/second or month=none")
    return name, int(value) if value.isdecimal() else None if value == "none" else value


def seconds(text: str) -> float:
    """``90d``, ``12h``, ``5m`` or ``30s`` in seconds. Raises ``SettingsError``."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise SettingsError(f"'{text}' is no time; say 90d, 12h, 5m or 30s")
    return int(found[1]) * UNITS[found[2]]


def when(instant: float | None) -> str:
    """A Unix time to the minute, in UTC."""
    return "" if instant is None else f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M}"


def _gateway(name: str | None) -> tuple[Bff, StoredKeys]:
    project = load_project()
    found: dict[str, tuple[Bff, StoredKeys]] = {}
    failed = ""
    for known in names_of(project, name):
        try:
            app = load_gateway(project, known)
        except SettingsError as error:
            # One that lacks its settings does not hinder the others.
            if name is not None:
                raise
            failed += f"\n{known} cannot be loaded: {error}"
            continue
        if (keys := stored_keys(app.auth)) is not None:
            found[known] = app, keys
    if len(found) == 1:
        ((known, only),) = found.items()
        if known in project.gateways:
            os.environ.update(project.variables(known))  # the database's driver reads some only now
        return only
    if found:
        raise SettingsError(f"several gateways have keys; say which: --gateway {' or '.join(found)}")
    raise SettingsError(
        f"{name or 'no gateway'} {'has no' if name else 'has'} keys in a database: auth=StoredKeys(…) of create_bff "
        f"(docs/keys.md){failed}"
    )


def _check_plan(app: Bff, plan: str | None, own: Mapping[str, int | str | None] | None = None) -> None:
    try:
        check_plan(app.limiter.declared, plan, own)
    except DeclarationError as error:
        raise SettingsError(str(error)) from None


def _known_version(app: Bff, version: str) -> str:
    if app.versions is None:
        raise SettingsError(f"gateway '{app.name}' has no versions")
    try:
        return app.versions[version].name
    except KeyError:
        there = ", ".join(each.name for each in app.versions.all)
        raise SettingsError(f"there is no version '{version}'; there is: {there}") from None


def _show_once(key: str, record: KeyRecord) -> None:
    typer.echo(key)
    note = f"{record.id}, of {record.partner}; shown this once, and kept nowhere"
    Console(stderr=True).print(escape(note), highlight=False)
