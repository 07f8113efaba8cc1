"""gRPC beside inference: models, keys, health, reflection, deadlines, start and end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from benchmarks.servers import free_port
from models_store.stores import Folder
from service.grpc import CannotServe, schema, server
from service.grpc import check as check_settings
from service.settings import Settings
from tests.service.grpc_server import (
    Upload,
    connected,
    refusal,
    request,
    serving,
    stub_of,
    tensor,
    to_return,
    typed,
)
from tests.service.running import process_of, readiness, until
from tests.service.test_faults import Service, labels

KEY = {"authorization": "Bearer first-of-the-keys"}
METADATA = tuple(KEY.items())
LABEL = typed("label", "INT64", [1], int64_contents=[3])
SERVICE = "inference.GRPCInferenceService"
Check = health_pb2.HealthCheckRequest
Health = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def addresses(protocol_store: Folder) -> Iterator[tuple[str, str]]:
    with serving(protocol_store.address, allow_loading=True, api_keys=["first-of-the-keys"]) as both:
        yield both


@pytest.fixture(scope="module")
def client(addresses: tuple[str, str]) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(addresses[1]) as client:
        yield client


@pytest.fixture
def channel(addresses: tuple[str, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(addresses[1]) as channel:
        yield channel


# --- models -----------------------------------------------------------------------------------------------


def test_models_are_described_as_over_http(
    client: triton.InferenceServerClient, addresses: tuple[str, str]
) -> None:
    with triton_http.InferenceServerClient(addresses[0]) as other:
        pairs = [
            (client.get_server_metadata(KEY, as_json=True), other.get_server_metadata(KEY)),
            (
                client.get_model_metadata("kinds", headers=KEY, as_json=True),
                other.get_model_metadata("kinds", headers=KEY),
            ),
            (
                client.get_inference_statistics("tiny", headers=KEY, as_json=True)["model_stats"][0]["name"],
                other.get_inference_statistics("tiny", headers=KEY)["model_stats"][0]["name"],
            ),
            (
                client.get_model_repository_index(KEY, as_json=True)["models"],
                [
                    {name: value for name, value in one.items() if value}
                    for one in other.get_model_repository_index(KEY)
                ],
            ),
        ]
        expected = other.get_model_config("kinds", headers=KEY)
    for actual, of_http in pairs:
        assert _texts(actual) == _texts(of_http)
    config = client.get_model_config("kinds", headers=KEY, as_json=True)["config"]
    assert [one["name"] for one in config["input"]] == [one["name"] for one in expected["input"]]
    assert [one["data_type"] for one in config["output"]] == [one["data_type"] for one in expected["output"]]
    assert config["max_batch_size"] == expected["max_batch_size"]


def _texts(value: Any) -> Any:
    """JSON of protobuf writes 64-bit integers as texts."""
    if isinstance(value, dict):
        return {name: _texts(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(one) for one in value]
    return str(value)


def test_models_are_loaded_and_unloaded(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("kinds", headers=KEY)
    client.unload_model("kinds", headers=KEY)
    assert not client.is_model_ready("kinds", headers=KEY)
    code, reason = refusal(client.load_model, "kinds", headers=KEY, config="{}")
    assert (code, "parameters are not supported" in reason) == ("INVALID_ARGUMENT", True)
    client.load_model("kinds", headers=KEY)
    assert client.is_model_ready("kinds", "1", headers=KEY)


def test_what_triton_has_and_this_service_has_not_is_refused_with_the_reason(
    client: triton.InferenceServerClient,
) -> None:
    for call, reason in (
        (client.get_system_shared_memory_status, "shared memory is not supported"),
        (client.get_trace_settings, "traces are not set here"),
        (client.get_log_settings, "logging is not set here"),
    ):
        code, sentence = refusal(call, headers=KEY)
        assert (code, reason in sentence) == ("UNIMPLEMENTED", True)


# --- keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [None, "Bearer wrong-key", "Basic first-of-the-keys", "Bearer"])
def test_without_a_key_only_health_is_answered(channel: grpc.Channel, authorization: str | None) -> None:
    metadata = (("authorization", authorization),) if authorization else ()
    methods = [
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelConfig",
        "RepositoryIndex",
    ]
    for method in methods:
        send = channel.unary_unary(f"/{SERVICE}/{method}")
        code, reason = refusal(send, b"", metadata=metadata)
        assert (code, "needs one of its keys" in reason) == ("UNAUTHENTICATED", True), method
    for method in (
        f"{SERVICE}/ModelStreamInfer",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ):
        stream = channel.stream_stream(f"/{method}")
        assert refusal(list, stream(iter([b""]), metadata=metadata))[0] == "UNAUTHENTICATED"
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(Check(), metadata=metadata).status == Health.SERVING
    for name in ("tiny", "nothing"):  # no difference shows which models there are
        assert refusal(health.Check, Check(service=name))[0] == "UNAUTHENTICATED"
        watch = health.Watch(Check(service=name))
        assert refusal(next, watch)[0] == "UNAUTHENTICATED"


def test_with_a_key_all_is_answered(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    result = client.infer("tiny", [tensor("label", [3])], outputs=to_return("mu"), headers=KEY)
    assert result.as_numpy("mu").shape[0] == 1


# --- health and reflection ----------------------------------------------------------------------------------


def test_health_is_known_of_the_service_and_of_every_model(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE, "tiny"):
        assert health.Check(Check(service=name), metadata=METADATA).status == Health.SERVING
    assert refusal(health.Check, Check(service="nothing"), metadata=METADATA)[0] == "NOT_FOUND"
    watch = health.Watch(Check(service="nothing"), metadata=METADATA)
    assert next(watch).status == Health.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_describes_every_service(channel: grpc.Channel) -> None:
    with grpc.intercept_channel(channel, _WithKey()) as keyed:
        database = ProtoReflectionDescriptorDatabase(keyed)
        assert {*database.get_services()} == {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        described = database.FindFileContainingSymbol(SERVICE)
    (expected,) = FileDescriptorSet.FromString(schema.FILE.read_bytes()).file
    assert described == expected


class _WithKey(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Adds the key to streams."""

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=METADATA), requests)


def test_the_compiled_schema_is_that_of_the_proto(tmp_path: Path) -> None:
    """`make proto` compiles it."""
    target, source = tmp_path / "compiled", schema.FILE.with_suffix(".proto")
    assert protoc.main(["", f"-I{source.parent}", f"--descriptor_set_out={target}", str(source)]) == 0
    assert FileDescriptorSet.FromString(target.read_bytes()) == FileDescriptorSet.FromString(
        schema.FILE.read_bytes()
    )


def test_messages_are_those_of_tritonclient() -> None:
    """Every field here has the number and the type that it has there."""
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    theirs = {name: one for file in files for name, one in file.message_types_by_name.items()}
    (file,) = FileDescriptorSet.FromString(schema.FILE.read_bytes()).file
    for message in file.message_type:
        fields = {field.name: field for field in theirs[message.name].fields}
        for field in message.field:
            assert (fields[field.name].number, fields[field.name].type) == (field.number, field.type)


# --- deadlines, cancellation, overload ----------------------------------------------------------------------


@contextmanager
def held(bundle_folder: Path, **options: Any) -> Iterator[tuple[Service, Any, httpx2.Client]]:
    """A service whose graphs wait while its gate is closed; a stub of it."""
    port = free_port()
    service = Service(bundle_folder.parents[1], grpc_port=port, **options)
    with service.serving() as client:
        yield service, stub_of(f"127.0.0.1:{port}"), client


def test_a_call_ends_at_the_deadline_of_the_service(bundle_folder: Path) -> None:
    with held(bundle_folder, deadline_seconds=0.3) as (service, stub, _):
        service.gate.clear()
        code, reason = refusal(stub.ModelInfer, request(LABEL))
        assert (code, reason) == ("DEADLINE_EXCEEDED", "no answer within the 0.3 s that a request may take")
        (response,) = stub.ModelStreamInfer(iter([request(LABEL)]))
        assert response.error_message == reason
        assert service.waiting_rows == 0
        with closing(Upload()) as upload:
            call = stub.ModelStreamInfer(upload)  # a client may pause for longer between two requests
            assert is_live(stub)
            upload.end()
            assert [*call] == []


def is_live(stub: Any) -> bool:
    return bool(stub.ServerLive(service_pb2.ServerLiveRequest()).live)


def test_an_upload_that_never_comes_ends_at_the_deadline(bundle_folder: Path) -> None:
    with (
        serving(bundle_folder.parents[1], deadline_seconds=0.3) as (_, address),
        grpc.insecure_channel(address) as channel,
        closing(Upload()) as upload,
    ):
        call = channel.stream_unary(f"/{SERVICE}/ModelInfer")
        code, reason = refusal(call, upload)
    assert (code, "the body was not complete within the 0.3 s" in reason) == ("DEADLINE_EXCEEDED", True)


def test_a_client_that_leaves_stops_costing(bundle_folder: Path) -> None:
    """By its deadline, by cancelling a call, or by cancelling a stream."""
    with held(bundle_folder) as (service, stub, client), ThreadPoolExecutor(1) as clients:
        first = service.block(client, clients, labels(1))
        late = stub.ModelInfer.future(request(LABEL), timeout=0.5)
        called = stub.ModelInfer.future(request(LABEL))
        streamed = stub.ModelStreamInfer(iter([request(LABEL)]))
        assert refusal(late.result)[0] == "DEADLINE_EXCEEDED"
        until(lambda: service.waiting_rows == 2)
        called.cancel()
        until(lambda: service.waiting_rows == 1)
        streamed.cancel()
        until(lambda: service.waiting_rows == 0)
        service.gate.set()
        assert first.result().status_code == 200


def test_a_full_queue_refuses_and_says_when_to_come_again(bundle_folder: Path) -> None:
    twelve = request(typed("label", "INT64", [12], int64_contents=[1] * 12))
    with (
        held(bundle_folder, max_waiting_rows=10) as (service, stub, client),
        ThreadPoolExecutor(1) as clients,
    ):
        first = service.block(client, clients, labels(1))
        full = stub.ModelInfer.future(twelve)
        until(lambda: service.waiting_rows >= 12)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request(LABEL))
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "12 rows wait already, more than the 10 that may; ask again in 6 s" in error.details()
        trailers = dict(error.trailing_metadata())
        assert trailers["grpc-retry-pushback-ms"] == "6000"
        retry = RetryInfo()
        assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(retry)
        assert retry.retry_delay.seconds == 6
        service.gate.set()
        assert first.result().status_code == 200
        assert full.result().model_name == "tiny"


# --- start and end ------------------------------------------------------------------------------------------


def test_calls_and_connections_are_limited(monkeypatch: pytest.MonkeyPatch, bundle_folder: Path) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    with serving(bundle_folder) as (_, address), connected(address) as settings, connected(address):
        assert settings is not None
        assert settings.max_concurrent_streams == server.MAX_STREAMS
        with connected(address) as refused:
            assert refused is None


def test_without_a_port_grpc_is_not_imported() -> None:
    code = "import sys, service.__main__; sys.exit('grpc' in sys.modules or 'google.protobuf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_settings_that_cannot_work_are_refused(monkeypatch: pytest.MonkeyPatch, bundle_folder: Path) -> None:
    with pytest.raises(CannotServe, match="2 workers need one port"):
        check_settings(Settings(grpc_port=0, workers=2))
    with serving(bundle_folder.parents[1]) as (_, address):
        taken = int(address.rpartition(":")[2])
        with process_of(bundle_folder.parents[1], "--grpc-port", str(taken)) as (http, process):
            assert process.wait(60) != 0
            assert readiness(http) == 0
    monkeypatch.setattr("service.grpc.find_spec", lambda _: None)
    with pytest.raises(CannotServe, match="pip install 'anyview\\[grpc\\]'"):
        check_settings(Settings(grpc_port=1))


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_sigterm_under_load_loses_no_answer(bundle_folder: Path, options: tuple[str, ...]) -> None:
    """Clients send requests until the health service says otherwise, as behind a load balancer."""
    port = free_port()
    store = bundle_folder.parents[1]
    with process_of(store, "--grpc-port", str(port), "--grace-seconds", "2", *options) as (http, process):
        address = f"127.0.0.1:{port}"
        drained, answers = threading.Event(), list[int]()

        def client() -> None:
            with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                while not drained.is_set():
                    answers.append(len(stub.ModelInfer(request(LABEL)).outputs))

        with ThreadPoolExecutor(4) as clients, grpc.insecure_channel(address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(Check())
            assert next(watch).status == Health.SERVING
            running = [clients.submit(client) for _ in range(4)]
            until(lambda: len(answers) > 20)
            process.send_signal(signal.SIGTERM)
            assert next(watch).status == Health.NOT_SERVING
            before = len(answers)
            until(lambda: len(answers) > before + 20)  # it is not ready, and still answers
            drained.set()
            for each in running:
                each.result()
            assert process.wait(60) == 0
            assert [*watch] == []
        assert {*answers} == {1}
        assert readiness(http) == 0


def test_streams_are_answered_before_the_service_ends(bundle_folder: Path) -> None:
    port = free_port()
    store = bundle_folder.parents[1]
    with (
        process_of(store, "--grpc-port", str(port), "--grace-seconds", "0") as (_, process),
        closing(Upload(*[request(LABEL)] * 50)) as upload,
    ):
        stream = stub_of(f"127.0.0.1:{port}").ModelStreamInfer(upload)
        assert not next(stream).error_message
        process.send_signal(signal.SIGTERM)
        answers: list[Any] = []
        assert refusal(answers.extend, stream) == ("UNAVAILABLE", "the service stops")
        assert len(answers) == 49
        assert process.wait(60) == 0


def test_statistics_are_numbers(client: triton.InferenceServerClient) -> None:
    client.infer("tiny", [tensor("label", [3, 4])], outputs=to_return("mu"), headers=KEY)
    response = client.get_inference_statistics("tiny", headers=KEY)
    counted = json_format.MessageToDict(response, preserving_proto_field_name=True)["model_stats"][0]
    assert int(counted["inference_count"]) >= 2
    assert int(counted["inference_stats"]["success"]["ns"]) > 0
