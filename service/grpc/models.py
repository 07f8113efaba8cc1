"""Every method beside inference: health, metadata, statistics and the model repository."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError

from service.errors import NotFound, NotReady, Unparsable
from service.grpc.calls import Call, Method
from service.grpc.schema import message
from service.models.loading import Loaded
from service.oip import description
from service.routes import oip_models
from service.routes.models import check_changeable
from service.routes.oip import current


async def server_live(_call: Call) -> Any:
    """Answers while the process does."""
    return message("ServerLiveResponse")(live=True)


async def server_ready(call: Call) -> Any:
    """Returns whether the service is ready, as ``/readyz`` does."""
    return message("ServerReadyResponse")(ready=call.catalog.ready)


async def model_ready(call: Call) -> Any:
    """Returns whether a version is loaded; another name is no error, as in Triton Inference Server."""
    try:
        _loaded(call, _request("ModelReadyRequest", call))
    except (NotFound, NotReady):
        return message("ModelReadyResponse")(ready=False)
    return message("ModelReadyResponse")(ready=True)


async def server_metadata(_call: Call) -> Any:
    """Returns name, version and extensions of the service."""
    return _filled("ServerMetadataResponse", description.server())


async def model_metadata(call: Call) -> Any:
    """Returns inputs and outputs of a model."""
    manifest = _loaded(call, _request("ModelMetadataRequest", call)).bundle.manifest
    return _filled(
        "ModelMetadataResponse", description.metadata(manifest, call.catalog.versions[manifest.name])
    )


async def model_config(call: Call) -> Any:
    """Returns inputs and outputs as a model configuration of Triton."""
    manifest = _loaded(call, _request("ModelConfigRequest", call)).bundle.manifest
    config = description.configuration(manifest, call.catalog.settings.max_rows)
    return _filled("ModelConfigResponse", {"config": config})


async def model_statistics(call: Call) -> Any:
    """Returns the statistics of one version, of every loaded version of a model, or of all models."""
    request = _request("ModelStatisticsRequest", call)
    versions = oip_models.everything(call.catalog)
    if request.name:
        loaded = _loaded(call, request)
        versions = [loaded] if request.version else [*call.catalog.versions[request.name].values()]
    return _filled("ModelStatisticsResponse", oip_models.statistics_of(versions))


async def repository_index(call: Call) -> Any:
    """Returns every version that the last refresh saw in the store, and whether it is loaded."""
    only_ready = _request("RepositoryIndexRequest", call).ready
    entries = oip_models.entries(call.catalog)
    models = [one for one in entries if not only_ready or one["state"] == oip_models.READY]
    return _filled("RepositoryIndexResponse", {"models": models})


async def repository_load(call: Call) -> Any:
    """Loads the newest version in the store."""
    check_changeable(call.catalog)
    request = _request("RepositoryModelLoadRequest", call)
    oip_models.check_no_parameters(sorted(request.parameters))
    await asyncio.to_thread(call.catalog.load, request.model_name)
    return message("RepositoryModelLoadResponse")()


async def repository_unload(call: Call) -> Any:
    """Unloads all versions of a model."""
    check_changeable(call.catalog)
    request = _request("RepositoryModelUnloadRequest", call)
    await asyncio.to_thread(call.catalog.unload, request.model_name)
    return message("RepositoryModelUnloadResponse")()


METHODS: Mapping[str, Method] = {
    "ServerLive": Method("grpc_server_live", server_live, open=True),
    "ServerReady": Method("grpc_server_ready", server_ready, open=True),
    "ModelReady": Method("grpc_model_ready", model_ready),
    "ServerMetadata": Method("grpc_server_metadata", server_metadata),
    "ModelMetadata": Method("grpc_model_metadata", model_metadata),
    "ModelConfig": Method("grpc_model_config", model_config),
    "ModelStatistics": Method("grpc_model_statistics", model_statistics),
    "RepositoryIndex": Method("grpc_repository_index", repository_index),
    "RepositoryModelLoad": Method("grpc_repository_load", repository_load),
    "RepositoryModelUnload": Method("grpc_repository_unload", repository_unload),
}
"""By name in the service ``inference.GRPCInferenceService``."""

UNSUPPORTED: Mapping[str, str] = {
    "SharedMemory": "shared memory is not supported; send tensors in the message",
    "TraceSetting": "traces are not set here; requests can be followed by their x-request-id",
    "LogSettings": "logging is not set here, but when the service is started",
}
"""Reasons why methods of Triton Inference Server do not exist here, by a part of their names."""


def _request(name: str, call: Call) -> Any:
    try:
        return message(name).FromString(call.content)
    except DecodeError:
        raise Unparsable(f"the message is not a {name}: it is damaged") from None


def _loaded(call: Call, request: Any) -> Loaded:
    return current(call.catalog, request.name, request.version or None)


def _filled(name: str, fields: Mapping[str, Any]) -> Any:
    # The statistics of HTTP have more fields, which are always empty.
    return ParseDict(fields, message(name)(), ignore_unknown_fields=True)
