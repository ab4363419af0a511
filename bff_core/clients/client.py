"""Service clients: classes of typed operations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..context import current_context
from ..errors import DeclarationError
from ..policy import Policy
from .bound import BoundOperation
from .invocation import Invocation
from .operation import Operation

__all__ = ["ServiceClient"]


class ServiceClient:
    """Base of all service clients: ``class Catalog(ServiceClient, service="catalog")``.

    Operations are declared with ``get``, ``post``, ``put``, ``patch`` and ``delete``; ``policy`` says how the service
    is called. Instances are made by ``create_bff`` and reach sections by type.
    """

    service: ClassVar[str] = ""
    policy: ClassVar[Policy | None] = None
    operations: ClassVar[dict[str, Operation[..., Any]]] = {}

    def __init_subclass__(cls, *, service: str = "", policy: Policy | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not service.replace("-", "_").isidentifier():
            raise DeclarationError(f"{cls.__name__}: name its service: class {cls.__name__}(ServiceClient, service=…)")
        cls.service = service
        cls.policy = policy
        cls.operations = {name: value for name, value in vars(cls).items() if isinstance(value, Operation)}
        for operation in cls.operations.values():
            operation.compile(service)

    def __init__(self, bound: Mapping[str, BoundOperation]) -> None:
        self.bound = bound

    async def call(self, operation: Operation[..., Any], values: Sequence[Any]) -> Any:
        """Invoke ``operation`` for the request being served; raises ``ServiceError``."""
        context = current_context()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def finished(invocation: Invocation) -> None:
            if future.done():
                return
            if invocation.error is not None:
                future.set_exception(invocation.error)
            else:
                future.set_result(invocation.value)

        invocation = Invocation(self.bound[operation.name], context, context.deadline, finished)
        if invocation.start(values):
            return invocation.value
        try:
            return await future
        except asyncio.CancelledError:
            invocation.cancel()
            raise
