"""All settings, each with its default and what it does. Environment names are the upper-case field names.

Every name is also read with the prefix ``JOBFETCHER_``, which wins; see ``jobfetcher.environment``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from jobfetcher.environment import DEFAULT_BASE, Found, Misread, folder_at, lookup, read_env_file

_WRONG = "The settings are not complete or not valid:"
_WHERE = "Set them as environment variables or in the file .env (see .env.example)."


class SettingsError(Exception):
    """The settings are not usable; the message names the variables and says what to do."""


class Settings(BaseSettings):
    """What a worker needs to know before it starts."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    api_url: str = Field(description="Address of the worker-facing API, with http:// or https://.")
    access_token: SecretStr | None = Field(
        None, description="Bearer token for the API. It is short-lived: prefer USERNAME and PASSWORD."
    )
    username: str | None = Field(None, description="Account to log in with, without ACCESS_TOKEN.")
    password: SecretStr | None = Field(None, description="Password of that account.")
    path_base: Path = Field(
        Path(DEFAULT_BASE), description="Folder for the database and the jobs' files, as the worker sees it."
    )
    path_host_base: Path | None = Field(
        None,
        description="The same folder as the Docker engine sees it; a worker in a container finds it out "
        "unless 'doctor' says otherwise.",
    )
    timeout_job: float = Field(10, gt=0, description="Seconds between two questions for new jobs.")
    timeout_status: float = Field(10, gt=0, le=140, description="Seconds between two keep-alives of a job.")
    database_url: str = Field("", description="Database; default: jobfetcher.db in PATH_BASE.")
    runner: Literal["docker", "process"] = Field(
        "docker", description="What runs jobs: docker, or process (no engine needed, isolates nothing)."
    )
    docker_host: str | None = Field(None, description="Address of the Docker engine; default: its socket.")
    ipc_mode: Literal["private", "host"] = Field(
        "private", description="IPC namespace of job containers; host is what the existing worker used."
    )
    shm_size: int | None = Field(
        None,
        gt=0,
        le=2**24,
        description="MiB of /dev/shm in a job container; default: half the memory, at most 8192.",
    )
    network: str | None = Field(None, description="Docker network of job containers; default: the engine's.")
    allowed_images: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Patterns (*, ?) of images that may run here, separated by commas; empty: all."
    )
    groups: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Groups whose jobs come first, separated by commas."
    )
    max_jobs: int = Field(
        1,
        ge=1,
        le=64,
        description="Jobs at work at once; with more than 1 each gets its share of the machine.",
    )
    older_than: int = Field(
        0, ge=0, description="Seconds that a job which may also run in the cloud must have waited."
    )
    min_free_disk: int = Field(1024, ge=0, description="MiB to keep free: no job starts below that.")
    keep_jobs: float = Field(
        0, ge=0, description="Hours that the files of an ended, reported job stay on this machine."
    )
    transfer_connections: int = Field(
        8,
        ge=1,
        le=64,
        description="Files moved side by side; a large input that comes slowly takes those left over.",
    )
    upload_container_log: bool = Field(
        True, description="Upload the container's own output as container.log."
    )
    stop_grace: float = Field(10, ge=0, description="Seconds a cancelled container has to end by itself.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level logged.")
    log_format: Literal["auto", "human", "json"] = Field(
        "auto", description="human, json, or auto: human on a terminal, json otherwise."
    )
    status_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the status page, metrics and health; default: none is open.",
    )
    status_host: str = Field("127.0.0.1", description="Address that this port is opened on.")
    cognito_url: str | None = Field(None, description="Endpoint of AWS Cognito, for tests.")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (named["init_settings"],)

    @field_validator("api_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        scheme, colon, rest = url.partition(":")
        if scheme.lower() not in ("http", "https") or not rest.startswith("//"):
            raise ValueError("must start with http:// or https://")
        if not _names_a_host(url):
            raise ValueError("names no host, or has a character that no address has")
        if set(rest) & set("@?#"):
            raise ValueError("must be nothing but an address: no account, no '?', no '#'")
        return f"{scheme.lower()}{colon}{rest.rstrip('/')}"

    @field_validator("access_token")
    @classmethod
    def _is_token(cls, token: SecretStr | None) -> SecretStr | None:
        text = token.get_secret_value() if token else ""
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("has a blank, a line break or a letter that no token has; copy it again")
        return token

    @field_validator("database_url")
    @classmethod
    def _is_file(cls, url: str) -> str:
        if not url.startswith("sqlite:///") or url == "sqlite:///":
            raise ValueError("must name a SQLite file, as sqlite:////folder/file.db does")
        return url

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("runner", "ipc_mode", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("allowed_images", "groups", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        base = folder_at(values.get("path_base") or DEFAULT_BASE)
        values["path_base"] = base
        values["database_url"] = values.get("database_url") or f"sqlite:///{base / 'jobfetcher.db'}"
        return values

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        if self.access_token is None and not (self.username and self.password):
            raise ValueError("set ACCESS_TOKEN, or both USERNAME and PASSWORD")
        return self

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not be shown."""
        given = (self.access_token, self.password)
        return tuple(secret.get_secret_value() for secret in given if secret is not None)


def find(environ: Mapping[str, str], env_file: Mapping[str, str]) -> dict[str, Found]:
    """Every setting that is given, by field name, with where it came from."""
    found = {name: lookup(name.upper(), environ, env_file) for name in Settings.model_fields}
    return {name: value for name, value in found.items() if value is not None}


def load(environ: Mapping[str, str] | None = None, env_file: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises ``SettingsError`` with one readable message."""
    try:
        file = read_env_file() if env_file is None else env_file
    except Misread as error:
        raise SettingsError("\n".join([_WRONG, f"  {error}", _WHERE])) from None
    found = find(os.environ if environ is None else environ, file)
    try:
        return Settings(**{name: item.value for name, item in found.items()})  # type: ignore[arg-type]  # pydantic reads the strings
    except ValidationError as error:
        raise SettingsError(_explain(error, found)) from None


def _explain(error: ValidationError, found: Mapping[str, Found]) -> str:
    lines = [_WRONG]
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        lines.append(f"  {_complaint(name, item['type'], item['msg'], found.get(name))}")
    lines.append(_WHERE)
    return "\n".join(lines)


def _complaint(name: str, kind: str, message: str, found: Found | None) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be ", "must be ")
    text = text.partition(", unable to ")[0]
    if not name:
        return text[:1].upper() + text[1:].rstrip(".") + "."
    field: FieldInfo = Settings.model_fields[name]
    if kind == "missing":
        return f"{name.upper()} is missing. {field.description}"
    where = found.origin if found else name.upper()
    return f"{where}: {text}. {field.description}"


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return False
