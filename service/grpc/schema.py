"""Messages of ``open_inference.proto``, made when the service starts.

They live in a descriptor pool of their own: another package in the process, such as tritonclient, may define
the same messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

FILE = Path(__file__).parent / "open_inference.binpb"
SERVICE = "inference.GRPCInferenceService"

POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString(FILE.read_bytes()).file:
    POOL.Add(_file)


def message(name: str) -> Any:
    """Returns the class of a message of the package ``inference``."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


InferRequest: Any = message("ModelInferRequest")
InferResponse: Any = message("ModelInferResponse")
StreamResponse: Any = message("ModelStreamInferResponse")
