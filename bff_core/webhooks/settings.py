"""What webhooks can be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.networks import IPvAnyNetwork

from ..errors import SettingsError
from .retry import SCHEDULE
from .sealing import Sealer

__all__ = ["WebhookSettings"]

DAY = 86_400.0
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class WebhookSettings(BaseModel):
    """Times are seconds, sizes bytes.

    ``url`` is the SQL store. ``keys`` seal the secrets in it (32 bytes as base64url): the first from now on, the others
    did before. ``allow`` are networks that are not public and may be spoken to all the same, without TLS too.
    ``timeout`` is an attempt's; ``schedule`` the waits between attempts. An endpoint at which nothing has succeeded is
    warned of after ``warn_after``, disabled after ``disable_after``. Of one endpoint ``concurrency`` deliveries are
    under way at once, and while it fails ``failing_rate`` a second at the most. ``batch`` deliveries are taken at a
    time, from as many as ``lanes`` endpoints at once, each for ``turn`` at the most; an endpoint whose dispatcher dies
    has another after ``timeout`` and two turns. ``poll`` is how often an idle dispatcher looks. What is older
    than ``retention`` and not waiting is removed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    keys: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    allow: tuple[IPvAnyNetwork, ...] = ()
    timeout: Annotated[float, Field(gt=0, le=60)] = 15.0
    schedule: tuple[Annotated[float, Field(ge=0)], ...] = SCHEDULE
    warn_after: Seconds = DAY
    disable_after: Seconds = 5 * DAY
    concurrency: Count = 8
    failing_rate: Seconds = 10.0
    batch: Count = 50
    lanes: Count = 64
    turn: Seconds = 5.0
    poll: Seconds = 0.25
    max_event: Annotated[int, Field(ge=4096)] = 256 * 1024  # notices, with their URLs, fit into the least
    max_endpoints: Count = 50
    retention: Seconds = 30 * DAY

    @field_validator("keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        try:
            Sealer([key.get_secret_value() for key in keys])
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return keys

    def sealer(self) -> Sealer:
        """What seals with these keys."""
        return Sealer([key.get_secret_value() for key in self.keys])
