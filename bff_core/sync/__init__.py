"""Delta sync and the mutation outbox, for apps that work offline."""

from .declare import Collection, Mutation, mutation
from .poke import Pokes
from .route import sync_routes
from .service import Sync, read_keys

__all__ = ["Collection", "Mutation", "Pokes", "Sync", "mutation", "read_keys", "sync_routes"]
