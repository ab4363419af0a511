"""The version gate: which update an app needs, and what it is told."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import Problem
from .definitions import Definitions
from .version import ClientApp

__all__ = ["TYPE", "Update", "Verdict", "decide"]

TYPE = "urn:problem-type:bff:app-update-required"
Update = Literal["none", "available", "required"]


class Verdict(NamedTuple):
    """What the gate says of an app: ``store`` is where its update is; ``minimum`` and ``latest`` are its platform's."""

    app: ClientApp | None = None
    update: Update = "none"
    store: str | None = None
    minimum: str | None = None
    latest: str | None = None

    def problem(self) -> Problem:
        """The refusal, 403: not 426, which is for protocols (RFC 9110 section 15.5.22)."""
        return Problem(
            403,
            "This version of the app is no longer served; update it.",
            type_=TYPE,
            title="Update required",
            store=self.store,
            minimum=self.minimum,
            latest=self.latest,
        )


def decide(definitions: Definitions, app: ClientApp | None) -> Verdict:
    """What to say of ``app``. Whatever is not known is let in: an app without the header, a platform without a gate, a
    version that cannot be read."""
    gate = definitions.gate.get(app.platform) if app is not None else None
    if app is None or app.version is None or gate is None:
        return Verdict(app)
    return Verdict(app, gate.asks(app.version), gate.store, gate.minimum, gate.latest)
