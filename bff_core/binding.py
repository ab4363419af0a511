"""From declared clients and settings to clients that can call: policies resolved, wires made."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from .balance import BalancedWire, parse_targets
from .cache import LastGood, ValkeyStore
from .clients import BoundOperation, Flights, ResponseCache, ServiceClient
from .errors import SettingsError
from .pages import LastGoodValues
from .policy import Policy
from .resilience import CircuitMirror, Layer, Resolved, Upstream, resolve
from .settings import ServiceSettings, Settings
from .telemetry import Events
from .wire import Http1Wire, HttpxWire, Wire

__all__ = ["bind_clients", "make_cache", "make_last_good", "make_mirror"]

MEMORY = "memory://"

Clients = dict[type[ServiceClient], ServiceClient]


def make_cache(name: str, settings: Settings) -> ResponseCache:
    """The gateway's response cache: in memory, and shared by replicas when ``cache_url`` names a Valkey."""
    remote = None
    if settings.cache_url != MEMORY:
        remote = ValkeyStore(settings.cache_url, prefix=f"bff:{name}:")
    return ResponseCache(settings.cache_bytes, remote)


def make_last_good(name: str, settings: Settings) -> LastGoodValues:
    """The last good values of the gateway's sections, shared by replicas as the cache is."""
    remote = None
    if settings.cache_url != MEMORY:
        remote = ValkeyStore(settings.cache_url, prefix=f"bff:{name}:last-good:")
    return LastGoodValues(LastGood(settings.stale_bytes), remote)


def make_mirror(name: str, settings: Settings, events: Events) -> CircuitMirror | None:
    """What mirrors the gateway's circuits to the Valkey that it shares with its replicas, if there is one."""
    if settings.cache_url == MEMORY:
        return None
    mirror = CircuitMirror(settings.cache_url, name)
    events.subscribe(mirror)
    return mirror


def bind_clients(
    clients: Sequence[type[ServiceClient]],
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
    events: Events,
    cache: ResponseCache,
) -> tuple[Clients, dict[str, Upstream]]:
    """A client of each class, and the services they share by name. Raises ``SettingsError``."""
    names = list(dict.fromkeys(client.service for client in clients))
    if missing := [name for name in names if _key(name) not in settings.services]:
        variables = ", ".join(f"BFF_SERVICES__{_key(name).upper()}__URL" for name in missing)
        raise SettingsError(f"no URL for {', '.join(missing)}; set {variables}")
    upstreams: dict[str, Upstream] = {}
    bound: Clients = {}
    for name in names:
        service = settings.services[_key(name)]
        classes = [client for client in clients if client.service == name]
        _check_operations(name, service, classes)
        layers = _service_layers(name, service, classes, settings)
        upstream = upstreams[name] = _upstream(name, settings, resolve(name, layers).policy, transport, events)
        flights = Flights()
        for client in classes:
            resolved = {key: _resolve(client, key, service, layers) for key in client.operations}
            bound[client] = client(
                {
                    key: BoundOperation(client.operations[key], upstream, resolved[key], flights, cache)
                    for key in resolved
                }
            )
    return bound, upstreams


def _key(service: str) -> str:
    return service.replace("-", "_")


def _check_operations(name: str, service: ServiceSettings, classes: Sequence[type[ServiceClient]]) -> None:
    known = {operation for client in classes for operation in client.operations}
    if unknown := sorted(set(service.operations) - known):
        raise SettingsError(
            f"services.{_key(name)}.operations.{unknown[0]}: there is no such operation; there is: "
            + ", ".join(sorted(known))
        )


def _service_layers(
    name: str, service: ServiceSettings, classes: Sequence[type[ServiceClient]], settings: Settings
) -> list[Layer]:
    layers: list[Layer] = [("settings policy", settings.policy)]
    layers += [(f"{client.__name__}(policy=…)", client.policy) for client in classes]
    return [*layers, (f"settings services.{_key(name)}.policy", service.policy)]


def _resolve(client: type[ServiceClient], key: str, service: ServiceSettings, layers: Sequence[Layer]) -> Resolved:
    operation: list[Layer] = [
        (f"{client.__name__}.{key}(policy=…)", client.operations[key].policy),
        (f"settings services.{_key(client.service)}.operations.{key}", service.operations.get(key)),
    ]
    return resolve(f"{client.__name__}.{key}", layers, operation=operation)


def _upstream(
    name: str,
    settings: Settings,
    policy: Policy,
    transport: httpx.AsyncBaseTransport | None,
    events: Events,
) -> Upstream:
    targets = parse_targets(settings.services[_key(name)].url)

    def make_wire(origin: str, authority: str | None) -> Wire:
        return _wire(origin, authority, policy, settings.wire, transport)

    wire: Wire
    if len(targets) == 1 and targets[0].resolve is None:
        wire = make_wire(targets[0].origin, None)
    else:
        wire = BalancedWire(name, targets, policy, make_wire, events)
    return Upstream(name, wire, policy, prefix=targets[0].path, events=events, origin=targets[0].origin)


def _wire(
    origin: str,
    authority: str | None,
    policy: Policy,
    kind: str,
    transport: httpx.AsyncBaseTransport | None,
) -> Wire:
    most = max(policy.bulkhead, policy.adaptive.maximum if policy.adaptive.enabled else 0)
    if kind == "http1" and transport is None:
        return Http1Wire(
            origin,
            connect_timeout=policy.connect_timeout,
            max_body=policy.max_body,
            max_connections=most,
            authority=authority,
        )
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
    return HttpxWire(
        origin,
        transport or httpx.AsyncHTTPTransport(limits=limits),
        connect_timeout=policy.connect_timeout,
        max_body=policy.max_body,
        authority=authority,
    )
