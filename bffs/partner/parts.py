"""What the gateway is made of besides its pages: settings, keys, usage; once for the process."""

from __future__ import annotations

from bff_core import Usage

from .settings import PartnerSettings

__all__ = ["keys", "settings", "usage"]

settings = PartnerSettings.load()
keys = settings.keys()
usage = Usage(settings.store)
