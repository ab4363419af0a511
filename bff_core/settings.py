"""Settings: environment first, then a file, then defaults; an unknown key is refused at start-up."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableError

from .delivery.settings import Delivery
from .errors import SettingsError
from .forwarded import TrustedProxies
from .hardening.settings import Cors, Hardening
from .policy import Policy
from .targets import parse_targets

__all__ = ["ExchangeSettings", "ServiceSettings", "Settings"]

LISTS = (tuple, list, set, frozenset)
FORMS = {"tuple_type": True, "list_type": True, "model_type": False, "dict_type": False}
"""Errors of pydantic's that a wrong form is, and whether a list was expected."""
Seconds = Annotated[float, Field(gt=0, le=3600)]


def _off(value: object) -> object:
    """``off`` in the environment takes back a gateway's own default."""
    return None if value == "off" else value


class ExchangeSettings(BaseModel):
    """The token endpoint where tokens are exchanged (RFC 8693), and who the gateway is there (HTTP Basic, RFC 6749
    section 2.3.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_url: Annotated[str, Field(pattern=r"^https?://[^\s@#]+$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: Annotated[SecretStr, Field(min_length=1)]


class ServiceSettings(BaseModel):
    """Where a service is (``http://host:port[/path]``, several of them with commas between, each with ``;weight=N`` or
    ``;resolve=SECONDS``) and how it is called; ``operations`` says so
    for single operations by name.

    ``auth`` says how the service learns for whom it is called: not at all, by the client's own token, by one exchanged
    for it (for ``audience``, by default the service's name, and ``scope``), or by a header signed with ``signing_key``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    policy: Policy | None = None
    operations: dict[str, Policy] = {}
    auth: Literal["none", "relay", "exchange", "signed"] = "none"
    audience: Annotated[str, Field(min_length=1)] | None = None
    scope: str | None = None
    signing_key: Annotated[SecretStr, Field(min_length=32)] | None = None

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if self.auth == "signed" and self.signing_key is None:
            raise ValueError("auth = 'signed' needs a signing_key of at least 32 characters")
        return self

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parse_targets(url)
        return url.rstrip("/")


class Settings(BaseSettings):
    """What every gateway can be told. A gateway's own settings derive from this.

    ``BFF_SERVICES__CATALOG__URL=http://…`` in the environment sets ``services.catalog.url``; ``BFF_SETTINGS_FILE``
    names a TOML file; ``defaults`` of a gateway's own class come last, arguments win over everything. Times are
    seconds, sizes are bytes. Raises ``SettingsError`` with each wrong key, and each variable that is no setting.
    """

    model_config = SettingsConfigDict(
        env_prefix="BFF_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )
    file_variable: ClassVar[str] = "BFF_SETTINGS_FILE"
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    services: dict[str, ServiceSettings] = {}
    exchange: ExchangeSettings | None = None
    policy: Policy | None = None
    deadline: Seconds = 2.5
    max_body: Annotated[int, Field(ge=0)] = 1024 * 1024
    max_query: Annotated[int, Field(ge=0)] = 8 * 1024
    hardening: Hardening = Hardening()
    delivery: Delivery = Delivery()
    allowed_hosts: tuple[str, ...] = ()
    cors: Cors | None = None
    wire: Literal["http1", "httpx"] = "http1"
    shed_after: Seconds = 1.0
    cache_url: Annotated[str, Field(pattern=r"^(memory://$|valkeys?://|rediss?://)")] = "memory://"
    cache_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    stale_bytes: Annotated[int, Field(ge=0)] = 16 * 1024 * 1024
    limits_url: Annotated[str, Field(pattern=r"^(memory://$|valkeys?://|rediss?://|sqlite:///|postgresql://)")] = (
        "memory://"
    )
    idempotency_url: Annotated[str, Field(pattern=r"^(memory://$|valkeys?://|rediss?://|sqlite:///|postgresql://)")] = (
        "memory://"
    )
    idempotency_on_store_failure: Literal["deny", "allow"] = "deny"
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    shutdown_grace: Seconds = 15.0
    ops_host: str = "127.0.0.1"
    ops_port: Annotated[int | None, Field(ge=0, le=65535), BeforeValidator(_off)] = None
    ops_token: Annotated[SecretStr, Field(min_length=32)] | None = None
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$")] = "INFO"
    docs: bool = True
    early_hints: bool = False

    @field_validator("ops_token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("a token is of visible ASCII characters: others do not come through in a header")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        TrustedProxies(value)
        return value

    if not TYPE_CHECKING:  # which knows the fields as arguments

        def __init__(self, **values: Any) -> None:
            cls = type(self)
            cls._refuse_unknown_variables()
            try:
                super().__init__(**values)
            except ValidationError as error:
                prefix = cls.model_config["env_prefix"]
                lines = [_line(prefix, entry) for entry in error.errors(include_url=False, include_input=False)]
            except UnreadableError as error:
                lines = [f"  {error.__cause__}"]
            else:
                return
            raise SettingsError("settings that cannot be used:\n" + "\n".join(lines))

    @classmethod
    def load(cls, **values: Any) -> Self:
        """The settings in force, as ``Settings(...)`` gives them."""
        return cls(**values)

    @classmethod
    def _refuse_unknown_variables(cls) -> None:
        prefix = cls.model_config["env_prefix"]
        for variable in os.environ:
            if not variable.upper().startswith(prefix) or variable == cls.file_variable:
                continue
            name = variable[len(prefix) :].split("__")[0].lower()
            if name not in cls.model_fields:
                known = ", ".join(f"{prefix}{field.upper()}" for field in cls.model_fields)
                raise SettingsError(f"the environment has {variable}, which is no setting; there is: {known}")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - and the same, which says what it cannot read
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings names them
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file, then the gateway's defaults; each level down the one before wins."""
        environment = _Environment(settings_cls)
        defaults = InitSettingsSource(settings_cls, init_kwargs=dict(cls.defaults))
        path = os.environ.get(cls.file_variable)
        if path is None:
            return init_settings, environment, defaults
        if not os.path.isfile(path):  # noqa: PTH113 - nothing else needs a Path here
            raise SettingsError(f"{cls.file_variable} names {path}, which is no file")
        try:
            file = TomlConfigSettingsSource(settings_cls, toml_file=path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{cls.file_variable} names {path}, which cannot be read as TOML: {error}") from None
        return init_settings, environment, file, defaults


class _Environment(EnvSettingsSource):
    """What cannot be read is told with its variable and the form it should have, never with its value."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """The value from JSON."""
        try:
            return super().decode_complex_value(field_name, cast("FieldInfo", field), value)
        except ValueError:
            named = (name for name, found in os.environ.items() if found == value)
            found = next((name for name in named if name.upper().endswith(field_name.upper())), field_name.upper())
            kinds = (field.annotation, *get_args(field.annotation)) if field is not None else ()
            is_list = any(get_origin(kind) in LISTS for kind in kinds)
            raise ValueError(f"{found} cannot be read: {_form(found, is_list=is_list)}") from None


def _form(variable: str, *, is_list: bool) -> str:
    if is_list:
        return f"""it is a JSON list, such as {variable}='["one", "two"]'"""
    return f"""it is a JSON object, such as {variable}='{{"name": "value"}}', or {variable}__NAME=value for each name"""


def _line(prefix: str, entry: ErrorDetails) -> str:
    """What is wrong, with the variable it comes from when there is one."""
    path = [str(part) for part in entry["loc"]]
    names = [prefix + "__".join(path[:length]).upper() for length in range(len(path), 0, -1)]
    variable = next((name for name in names if name in os.environ), None)
    line = f"  {'.'.join(path)}: {entry['msg'].removeprefix('Value error, ')}"
    if variable is None:
        return line
    form = FORMS.get(entry["type"])
    return f"{line} ({variable}{f': {_form(variable, is_list=form)}' if form is not None else ''})"
