"""What the gateway is made of besides its pages: settings, keys, usage, webhooks; once for the process."""

from __future__ import annotations

from bff_core import Usage, Webhooks

from .events import EVENTS
from .exports import ExportStore
from .settings import PartnerSettings
from .versions import VERSIONS

__all__ = ["exports", "keys", "settings", "usage", "webhooks"]

settings = PartnerSettings.load()
if settings.demo is not None:
    settings.demo.mkdir(parents=True, exist_ok=True)
keys = settings.keys()
usage = Usage(settings.store)
webhooks = Webhooks(settings.webhooks(), events=EVENTS, versions=VERSIONS)
exports = ExportStore(webhooks.engine)
