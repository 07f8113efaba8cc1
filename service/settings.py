"""Settings, from the environment (``ANYVIEW_…``) or the command line, with their descriptions."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models_store.folder import SHIPPED

KEY = re.compile(r"[!-~]{8,512}")


class UnusableKeys(Exception):
    """The keys are too weak, cannot be sent, or cannot be read: the service must not start with them."""


def _as_root_path(path: str | None) -> str | None:
    """Returns the path with a slash before it and none after it; None for the root."""
    path = (path or "").strip("/")
    return f"/{path}" if path else None


def _as_networks(names: list[str]) -> list[str]:
    """Returns addresses and networks, checked."""
    for name in names:
        if name != "*":
            ipaddress.ip_network(name, strict=False)
    return names


class Settings(BaseSettings):
    """Serve multimodal VAEs over HTTP; or fill a table without a server: anyview-serve impute --help."""

    model_config = SettingsConfigDict(
        env_prefix="ANYVIEW_",
        env_ignore_empty=True,
        frozen=True,
        cli_prog_name="anyview-serve",
        cli_kebab_case=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on; the default admits only this machine.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on.")
    grpc_port: Annotated[int | None, Field(ge=0, le=65535)] = Field(
        None, description="Port of the Open Inference Protocol over gRPC; needs the extra `grpc`."
    )
    root_path: Annotated[str | None, AfterValidator(_as_root_path)] = Field(
        None, description="Path under which a proxy serves the service, such as `/anyview`."
    )
    trusted_proxies: Annotated[list[str], AfterValidator(_as_networks)] = Field(
        ["127.0.0.1", "::1"],
        description="IP addresses and networks of proxies whose headers Forwarded and X-Forwarded-Prefix and "
        "-Host count; `*`: any.",
    )
    store: Annotated[str, BeforeValidator(str)] = Field(
        str(SHIPPED), description="Folder of published models, or an address such as s3://bucket/models."
    )
    models: list[str] = Field(
        [], description="Models that must be loaded before the service is ready; default: any one."
    )
    default_model: str | None = Field(
        None, description="Model that answers /encode, /generate and /score; default: the only one."
    )
    provider: Literal["cpu", "cuda", "tensorrt"] = Field(
        "cpu", description="Device that runs the graphs; a model that does not load on it is refused."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads in which graphs run, per worker; default: the CPU quota, shared."
    )
    versions: int = Field(1, ge=1, description="Number of newest versions of each model that are loaded.")
    poll_seconds: float = Field(
        10.0,
        ge=0,
        description="Seconds between two searches of the store for new versions; 0: only at start.",
    )
    open_seconds: float = Field(
        10.0,
        gt=0,
        description="Processor seconds in which a new version must open and reproduce its golden values.",
    )
    open_memory_bytes: int = Field(
        2 * 2**30, gt=0, description="Memory that opening a new version may take; not limited on a GPU."
    )
    allow_loading: bool = Field(
        False, description="Allow POST /models/MODEL/load and unload; not with several workers."
    )
    workers: int = Field(
        1, ge=1, description="Processes; with several, only the store decides which models are loaded."
    )
    grace_seconds: float = Field(
        5.0, ge=0, description="Seconds after SIGTERM in which requests are answered while /readyz fails."
    )
    finish_seconds: float = Field(
        1.0,
        ge=0,
        description="Seconds after the grace in which requests in progress are answered; then they get 503.",
    )
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest request body.")
    max_message_bytes: int = Field(
        16 * 2**20, gt=0, description="Largest message over gRPC; `max_body_bytes` limits it, too."
    )
    max_rows: int = Field(10_000, gt=0, description="Most rows in one request.")
    max_draws: int = Field(10_000, gt=0, description="Largest N and K.")
    max_numbers: int = Field(
        100_000_000, gt=0, description="Most numbers in one response, and in the draws of z behind it."
    )
    memory_bytes: int | None = Field(
        None,
        gt=0,
        description="Memory of all requests together; default: 1 GiB, or half of the control group's memory.",
    )
    max_waiting_rows: int = Field(
        50_000, ge=0, description="Rows that may wait for graphs; while more wait, requests get status 429."
    )
    deadline_seconds: float = Field(
        60.0, gt=0, description="Longest time of a request, its upload included; then 408 or 503."
    )

    api_keys: list[str] = Field(
        [],
        repr=False,
        description="Keys; a request must send one: `Authorization: Bearer KEY`. Default: no key is needed.",
    )
    api_keys_file: Path | None = Field(None, description="File of further keys, one per line.")
    allowed_hosts: list[str] = Field(
        [],
        description="Host names that are answered where no keys are set, beside `localhost` and IP "
        "addresses; `*`: any.",
    )
    cors_origins: list[str] = Field(
        [], description="Origins whose pages may read responses, such as `https://example.org`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Format of the log on standard error; `auto`: text on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    trace_endpoint: str | None = Field(
        None,
        description="Receiver of traces, such as `http://localhost:4318/v1/traces`; needs the extra `otel`.",
    )
    log_requests: bool = Field(False, description="Log a line for every request, with its id and phases.")

    def check_keys(self) -> tuple[str, ...]:
        """Returns all keys, those of the file included; without any, every request is admitted.

        Raises:
            UnusableKeys: A key cannot be sent or is too short, or the file cannot be read or has none.
        """
        try:
            lines = self.api_keys_file.read_text().splitlines() if self.api_keys_file else []
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableKeys(f"the keys in {self.api_keys_file} cannot be read: {error}") from None
        keys = (*self.api_keys, *(line.strip() for line in lines if line.strip()))
        if self.api_keys_file and len(keys) == len(self.api_keys):
            raise UnusableKeys(f"{self.api_keys_file} has no key")
        for number, key in enumerate(keys, 1):
            if not KEY.fullmatch(key):
                raise UnusableKeys(f"key number {number} must be 8 to 512 visible ASCII characters")
        return keys

    def to_environment(self) -> dict[str, str]:
        """Returns the environment variables from which another process reads the same settings."""
        return {
            f"ANYVIEW_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }
