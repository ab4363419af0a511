"""From declared clients and settings to clients that can call: policies resolved, wires made."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from .auth import ExchangedToken, ProofKey, ProvedWire, RelayedToken, SignedPrincipal
from .balance import BalancedWire, parse_targets
from .cache import LastGood, ValkeyStore
from .clients import BoundOperation, Flights, ResponseCache, ServiceClient, ServiceCredentials
from .errors import SettingsError
from .pages import LastGoodValues
from .policy import Policy
from .resilience import CircuitMirror, Layer, Resolved, Upstream, resolve
from .settings import ServiceSettings, Settings
from .telemetry import Events
from .wire import Http1Wire, HttpxWire, Wire

__all__ = ["bind_clients", "bind_service", "credentials_of", "make_cache", "make_last_good", "make_mirror"]

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
    gateway: str,
    proofs: ProofKey | None = None,
) -> tuple[Clients, dict[str, Upstream]]:
    """A client of each class, and the services they share by name; ``gateway`` is whose they are, ``proofs`` the key
    that its sessions' tokens are bound to. Raises ``SettingsError``."""
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
        policy = resolve(name, layers).policy
        key = proofs if service.auth == "relay" else None
        upstream = upstreams[name] = _upstream(name, settings, policy, transport, events, key)
        flights = Flights()
        credentials = _credentials(name, gateway, service, classes, settings, transport)
        for client in classes:
            resolved = {key: _resolve(client, key, service, layers) for key in client.operations}
            bound[client] = client(
                {
                    key: BoundOperation(client.operations[key], upstream, resolved[key], flights, cache, credentials)
                    for key in resolved
                }
            )
    return bound, upstreams


def bind_service(name: str, settings: Settings, transport: httpx.AsyncBaseTransport | None, events: Events) -> Upstream:
    """A service that no client of the gateway speaks to. Raises ``SettingsError``."""
    service = settings.services.get(_key(name))
    if service is None:
        raise SettingsError(f"no URL for {name}; set BFF_SERVICES__{_key(name).upper()}__URL")
    _check_operations(name, service, ())
    return _upstream(
        name, settings, resolve(name, _service_layers(name, service, (), settings)).policy, transport, events
    )


def credentials_of(clients: Clients) -> list[ServiceCredentials]:
    """The services' credentials, each once."""
    bound = [operation for client in clients.values() for operation in client.bound.values()]
    found = dict.fromkeys(operation.credentials for operation in bound)
    return [credentials for credentials in found if credentials is not None]


def _key(service: str) -> str:
    return service.replace("-", "_")


def _credentials(
    name: str,
    gateway: str,
    service: ServiceSettings,
    classes: Sequence[type[ServiceClient]],
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
) -> ServiceCredentials | None:
    """How the service learns for whom it is called."""
    where = f"services.{_key(name)}.auth = '{service.auth}'"
    found: ServiceCredentials
    if service.auth == "relay":
        found = RelayedToken()
    elif service.auth == "signed" and service.signing_key is not None:
        key = service.signing_key.get_secret_value()
        found = SignedPrincipal(key, issuer=gateway, audience=service.audience or name)
    elif service.auth == "exchange":
        if settings.exchange is None:
            raise SettingsError(f"{where} needs the token endpoint: set BFF_EXCHANGE__TOKEN_URL, …CLIENT_ID, …SECRET")
        found = ExchangedToken(
            settings.exchange, audience=service.audience or name, scope=service.scope, transport=transport
        )
    else:
        return None
    for client in classes:
        for operation in client.operations.values():
            if any(p.kind == "header" and p.wire_name.lower() == found.header for p in operation.parameters):
                raise SettingsError(f"{where} sends the header {found.header}, which {operation.label} sends itself")
    return found


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
    proofs: ProofKey | None = None,
) -> Upstream:
    targets = parse_targets(settings.services[_key(name)].url)

    def make_wire(origin: str, authority: str | None) -> Wire:
        made = _wire(origin, authority, policy, settings.wire, transport)
        if proofs is None:
            return made
        scheme, _, own = origin.partition("://")
        return ProvedWire(made, f"{scheme}://{authority or own}", proofs)

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
