"""Declared operations: what a service can be asked, from the signature of a method."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import (
    Annotated,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from fastapi import params as fastapi_params
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from ..errors import BadResponse, DeclarationError
from ..policy import Policy
from .template import REQUIRED, Kind, Parameter, RequestTemplate

__all__ = ["Operation", "delete", "get", "patch", "post", "put"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
_MARKERS: dict[type, Kind] = {
    fastapi_params.Path: "path",
    fastapi_params.Query: "query",
    fastapi_params.Header: "header",
    fastapi_params.Body: "body",
}


class Operation(Generic[P, R_co]):
    """One operation of a service. Taken from the class it is a declaration, to be used in pages; taken from a client
    instance it is an awaitable method.

    Parameters are bound as in FastAPI: a name in the path template is a path parameter, a pydantic model is the body,
    anything else goes into the query; ``Annotated[..., Header()]`` and the like say otherwise. The answer is validated
    as the return annotation.
    """

    def __init__(
        self,
        method: str,
        path: str,
        function: Callable[..., Any],
        *,
        batch: str | None,
        batch_limit: int,
        key: str,
        at: str | None,
        idempotent: bool,
        policy: Policy | None,
    ) -> None:
        self.method = method
        self.path = path
        self.function = function
        self.batch = batch
        self.batch_limit = batch_limit
        self.key = key
        self.at = at
        self.idempotent = idempotent
        self.policy = policy
        self.name = function.__name__
        self.service = ""
        self.owner: type[Any] = object
        self.label = self.name  # ``Client.operation``, as soon as there is a client
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name
        self.owner = owner
        self.label = f"{owner.__name__}.{name}"

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Operation[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Callable[P, Awaitable[R_co]]: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Awaitable[R_co]:
            result: Awaitable[R_co] = instance.call(self, self.arguments(*args, **kwargs))
            return result

        return call

    def __repr__(self) -> str:
        return f"<{self.label}: {self.method} {self.path}>"

    def compile(self, service: str) -> None:
        """Resolve the signature; raises ``DeclarationError``. Called when the client class is made."""
        self.service = service
        try:
            hints = get_type_hints(self.function, include_extras=True)
        except NameError as error:
            raise DeclarationError(f"{self.label}: an annotation cannot be resolved: {error}") from error
        if "return" not in hints:
            raise DeclarationError(f"{self.label}: say what it returns, e.g. '-> Product' (or '-> None')")
        self.returns = hints["return"]
        placeholders = RequestTemplate.placeholders(self.path)
        self.parameters = tuple(
            self._parameter(parameter, hints, placeholders)
            for parameter in list(inspect.signature(self.function).parameters.values())[1:]
        )
        self._check(placeholders)
        self.template = RequestTemplate(self.path, self.parameters)
        self.batch_index = next((i for i, p in enumerate(self.parameters) if p.name == self.batch), -1)
        self._signature = inspect.Signature(
            [p.replace(annotation=p.empty) for p in list(inspect.signature(self.function).parameters.values())[1:]]
        )
        self._decoder: TypeAdapter[Any] = self._adapter()

    def arguments(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The values of a call in the order of ``parameters``; raises ``TypeError`` as a plain function would."""
        bound = self._signature.bind(*args, **kwargs)
        return tuple(bound.arguments.get(p.name, None if p.required else p.default) for p in self.parameters)

    def decode(self, body: bytes) -> Any:
        """The answer's value; raises ``BadResponse``, never with the body's content, when it is of another shape."""
        if self.returns is None or self.returns is type(None):
            return None
        try:
            value = self._decoder.validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = "/".join(str(part) for part in first["loc"])
            raise BadResponse(f"{error.error_count()} errors, first at '/{where}': {first['type']}") from None
        return getattr(value, "value") if self.at else value  # noqa: B009 - the model is made at run time

    def _adapter(self) -> TypeAdapter[Any]:
        if self.at is None:
            return TypeAdapter(self.returns)
        return TypeAdapter(create_model("Envelope", value=(self.returns, Field(validation_alias=self.at))))

    def _parameter(self, parameter: inspect.Parameter, hints: dict[str, Any], placeholders: list[str]) -> Parameter:
        name = parameter.name
        if name not in hints:
            raise DeclarationError(f"{self.label}: parameter '{name}' needs a type annotation")
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DeclarationError(f"{self.label}: '*{name}' cannot be sent; name every parameter")
        annotation, marker = _unwrap(hints[name])
        kind: Kind
        if name in placeholders:
            kind = "path"
        elif marker is not None:
            kind = next(kind for cls, kind in _MARKERS.items() if isinstance(marker, cls))
        elif _is_model(annotation):
            kind = "body"
        else:
            kind = "query"
        wire_name = (getattr(marker, "alias", None) or name) if marker is not None else name
        if kind == "header" and wire_name == name:
            wire_name = name.replace("_", "-")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        return Parameter(name, kind, wire_name, annotation, default)

    def _check(self, placeholders: list[str]) -> None:
        names = {parameter.name for parameter in self.parameters}
        if not self.path.startswith("/") or "?" in self.path or "#" in self.path:
            raise DeclarationError(f"{self.label}: the path '{self.path}' must begin with '/' and have no query")
        if missing := [name for name in placeholders if name not in names]:
            raise DeclarationError(f"{self.label}: the path has '{{{missing[0]}}}', but no parameter of that name")
        bodies = [parameter.name for parameter in self.parameters if parameter.kind == "body"]
        if len(bodies) > 1:
            raise DeclarationError(f"{self.label}: more than one body parameter: {', '.join(bodies)}")
        if bodies and self.method in ("GET", "DELETE"):
            raise DeclarationError(f"{self.label}: a {self.method} request has no body, but '{bodies[0]}' is one")
        if self.batch is not None and self.batch not in names:
            raise DeclarationError(f"{self.label}: batch='{self.batch}' names no parameter")
        if self.batch is not None and get_origin(self.returns) is not list:
            raise DeclarationError(f"{self.label}: a batch look-up returns a list, not {self.returns!r}")
        row = get_args(self.returns)[0] if self.batch is not None else None
        if row is not None and self.key not in getattr(row, "model_fields", {self.key}):
            raise DeclarationError(f"{self.label}: {row.__name__} has no '{self.key}'; say what its id is called: key=")


def _unwrap(annotation: Any) -> tuple[Any, Any]:
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        marker = next((extra for extra in extras if isinstance(extra, tuple(_MARKERS))), None)
        return (base if marker is not None and len(extras) == 1 else annotation), marker
    return annotation, None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class _Declare:
    """The decorator of one HTTP method."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(
        self,
        path: str,
        *,
        batch: str | None = None,
        batch_limit: int = 100,
        key: str = "id",
        at: str | None = None,
        idempotent: bool | None = None,
        policy: Policy | None = None,
    ) -> Callable[[Callable[Concatenate[Any, P], Awaitable[R]]], Operation[P, R]]:
        """Declare an operation at ``path``, a template such as ``/products/{product_id}``.

        ``batch`` names the list parameter of a look-up by many ids: what one request looks up at the same time is
        asked for together, each id once, at most ``batch_limit`` in one call; ``key`` is the rows' attribute with
        their id. ``at`` is the member of the answer that holds the value, such as ``items``. ``idempotent`` says
        whether it may be retried (default: GET, PUT and DELETE may). ``policy`` changes timeout, retries and hedging
        of this operation.
        """

        def decorate(function: Callable[Concatenate[Any, P], Awaitable[R]]) -> Operation[P, R]:
            return Operation(
                self._method,
                path,
                function,
                batch=batch,
                batch_limit=batch_limit,
                key=key,
                at=at,
                idempotent=self._method in IDEMPOTENT if idempotent is None else idempotent,
                policy=policy,
            )

        return decorate


get = _Declare("GET")
post = _Declare("POST")
put = _Declare("PUT")
patch = _Declare("PATCH")
delete = _Declare("DELETE")
