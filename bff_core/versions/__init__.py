"""API versions: one head, and the changes that lead back to the older ones."""

from .changes import Added, Converted, ErrorsChanged, PageAdded, Removed, Renamed, Replaced, ValueAdded
from .history import ModelAt, Versions
from .members import json_name, members_of
from .moved import Moved
from .served import Version
from .usage import Usage, VersionUsage

__all__ = [
    "Added",
    "Converted",
    "ErrorsChanged",
    "ModelAt",
    "Moved",
    "PageAdded",
    "Removed",
    "Renamed",
    "Replaced",
    "Usage",
    "ValueAdded",
    "Version",
    "VersionUsage",
    "Versions",
    "json_name",
    "members_of",
]
