"""What can be set, from the environment (``ANYVIEW_…``) or the command line, with its meaning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models_store.folder import SHIPPED

KEY = re.compile(r"[!-~]{8,512}")


class UnfitKeys(Exception):
    """Keys with which nobody should start: somebody might be let in by mistake, or nobody at all."""


class Settings(BaseSettings):
    """Serve multimodal VAEs over HTTP; or fill a table without a server: anyview-serve impute --help."""

    model_config = SettingsConfigDict(
        env_prefix="ANYVIEW_",
        env_ignore_empty=True,
        frozen=True,
        cli_prog_name="anyview-serve",
        cli_kebab_case=True,
    )

    host: str = Field(
        "127.0.0.1", description="Address to listen on; only this machine unless told otherwise."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on.")
    store: Annotated[str, BeforeValidator(str)] = Field(
        str(SHIPPED), description="Folder of published models, or an address such as s3://bucket/models."
    )
    models: list[str] = Field(
        [], description="Models that must be loaded before the service is ready; default: any one."
    )
    default_model: str | None = Field(
        None, description="Model that /encode and /generate mean; default: the only one."
    )
    provider: Literal["cpu", "cuda"] = Field(
        "cpu", description="What runs the graphs; a model that does not load on it is refused."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads in which graphs run, per worker; default: the CPU quota, shared."
    )
    versions: int = Field(1, ge=1, description="Of each model, how many of its newest versions are loaded.")
    poll_seconds: float = Field(
        10.0, ge=0, description="How often the store is looked at for new versions; 0: never again."
    )
    allow_loading: bool = Field(
        False, description="Let POST /models/MODEL/load and unload change what is loaded; not with workers."
    )
    workers: int = Field(1, ge=1, description="Processes; with several, the models follow the store alone.")
    grace_seconds: float = Field(
        5.0, ge=0, description="After SIGTERM, how long to answer on while /readyz already says no."
    )
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest request body.")
    max_rows: int = Field(10_000, gt=0, description="Most rows in one request.")
    max_draws: int = Field(10_000, gt=0, description="Largest N and K.")
    max_numbers: int = Field(
        100_000_000, gt=0, description="Most numbers in one answer, and in the draws of z behind it."
    )
    max_waiting_rows: int = Field(
        50_000, ge=0, description="Rows that may wait for graphs; while more do, questions are answered 429."
    )
    deadline_seconds: float = Field(
        60.0, gt=0, description="Longest that a request may take, its upload included; then 408 or 503."
    )

    api_keys: list[str] = Field(
        [],
        repr=False,
        description="Keys; a request must bring one: `Authorization: Bearer KEY`. Default: no key is needed.",
    )
    api_keys_file: Path | None = Field(None, description="File of further keys, one per line.")
    allowed_hosts: list[str] = Field(
        [],
        description="Host names that requests may be for where no keys are set, beside `localhost` and "
        "addresses in numbers; `*`: any.",
    )
    cors_origins: list[str] = Field(
        [], description="Origins whose pages may read answers, such as `https://example.org`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Of the lines on standard error; `auto`: text on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged."
    )
    trace_endpoint: str | None = Field(
        None,
        description="Where traces go, such as `http://localhost:4318/v1/traces`; needs the extra `otel`.",
    )
    log_requests: bool = Field(False, description="Log a line for every request, with its id and phases.")

    def check_keys(self) -> tuple[str, ...]:
        """All keys, those of the file included; none: everybody is let in.

        Raises:
            UnfitKeys: One cannot be sent, or is soon guessed, or the file has none.
        """
        try:
            lines = self.api_keys_file.read_text().splitlines() if self.api_keys_file else []
        except (OSError, UnicodeDecodeError) as error:
            raise UnfitKeys(f"the keys in {self.api_keys_file} cannot be read: {error}") from None
        keys = (*self.api_keys, *(line.strip() for line in lines if line.strip()))
        if self.api_keys_file and len(keys) == len(self.api_keys):
            raise UnfitKeys(f"{self.api_keys_file} has no key")
        for number, key in enumerate(keys, 1):
            if not KEY.fullmatch(key):
                raise UnfitKeys(f"key number {number} must be 8 to 512 visible ASCII characters")
        return keys

    def to_environment(self) -> dict[str, str]:
        """The variables from which another process reads the same settings."""
        return {
            f"ANYVIEW_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
        }
