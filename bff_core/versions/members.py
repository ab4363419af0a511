"""A model's members as they stand in JSON, and models made of members."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

__all__ = ["Member", "Members", "copied", "json_name", "make_model", "members_of"]

# How a model reads its input; what it says about itself (titles, examples) may not be true of an older form of it.
KEPT = ("extra", "arbitrary_types_allowed", "strict", "str_strip_whitespace", "str_max_length", "str_min_length")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a JSON object. ``carried`` says that its value is the newer version's, so that changes of the models
    in it are still to come."""

    annotation: Any
    info: FieldInfo | None = None
    carried: bool = True

    @property
    def required(self) -> bool:
        """Whether a request must have it."""
        return self.info is None or self.info.is_required()


Members = dict[str, Member]


def json_name(name: str, info: FieldInfo) -> str:
    """What the field ``name`` is called in JSON."""
    return info.serialization_alias or info.alias or name


def members_of(model: type[BaseModel]) -> Members:
    """All members that an answer may have, in their order."""
    found = {
        json_name(name, info): Member(info.annotation, info)
        for name, info in model.model_fields.items()
        if not info.exclude
    }
    for name, computed in model.model_computed_fields.items():
        # Nobody can be asked to send what is computed.
        found[computed.alias or name] = Member(computed.return_type, FieldInfo(default=None))
    return found


def make_model(like: type[BaseModel], members: Mapping[str, Member]) -> type[BaseModel]:
    """A model with the name and the configuration of ``like``, and these members."""
    config: Any = ConfigDict(**{key: value for key, value in like.model_config.items() if key in KEPT})  # type: ignore[typeddict-item]  # keys of one, taken from the same
    fields: dict[str, Any] = {}
    for name, member in members.items():
        attribute = name
        while not attribute.isidentifier() or keyword.iskeyword(attribute) or hasattr(BaseModel, attribute):
            attribute = "".join(c if c.isalnum() else "_" for c in attribute).lstrip("_") + "_"
        fields[attribute] = _definition(member, None if attribute == name else name)
    model: type[BaseModel] = create_model(like.__name__, __config__=config, __doc__=like.__doc__, **fields)
    return model


def _definition(member: Member, alias: str | None) -> tuple[Any, Any]:
    info = member.info
    if info is None:
        return member.annotation, Field(alias=alias)
    options: dict[str, Any] = {"default_factory": info.default_factory} if info.default_factory else {}
    if not options and not info.is_required():
        options["default"] = info.default
    for key in ("title", "description", "examples", "deprecated", "discriminator"):
        if (value := getattr(info, key)) is not None:
            options[key] = value
    annotation: Any = Annotated[(member.annotation, *info.metadata)] if info.metadata else member.annotation
    return annotation, Field(alias=alias, **options)


def copied(value: Any) -> Any:
    """Plain JSON data that may be changed without the original."""
    if type(value) is dict:
        return {key: copied(inner) for key, inner in value.items()}
    return [copied(inner) for inner in value] if type(value) is list else value
