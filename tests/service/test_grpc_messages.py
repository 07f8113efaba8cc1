"""Messages of gRPC are measured before they are parsed: a byte of one may become fifty."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import grpc.aio
import pytest
from tritonclient.grpc import service_pb2

from service.errors import TooLarge, Unparsable
from service.grpc import messages
from service.grpc.calls import Calls, Method
from tests.service.grpc_server import request, typed

LABEL = typed("label", "INT64", [1], int64_contents=[7])


@pytest.mark.parametrize("field", [b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\xf8\x07\x01"])
def test_a_message_of_very_many_fields_is_refused_before_it_is_parsed(field: bytes) -> None:
    """Inputs, outputs, raw tensors or unknown fields: 60 MB of them took 11 GB."""
    for count, refused in ((messages.MOST_FIELDS - 10, False), (messages.MOST_FIELDS + 1, True)):
        content = request(LABEL).SerializeToString() + field * count
        if refused:
            with pytest.raises(TooLarge, match="10000 fields"):
                messages.split(content, allowance=Mock())
        else:
            assert messages.split(content, allowance=Mock()).model == "tiny"


def test_only_raw_tensors_may_be_long() -> None:
    raw = service_pb2.ModelInferRequest(raw_input_contents=[bytes(messages.MOST_HEAD_BYTES + 1)])
    allowance = Mock()
    messages.split(raw.SerializeToString(), allowance=allowance)
    (size,) = allowance.take.call_args.args
    assert size <= messages.BYTES_OF_TYPED * 16
    long = request(LABEL, id="x" * messages.MOST_HEAD_BYTES)
    with pytest.raises(TooLarge, match="bytes outside of 'raw_input_contents'"):
        messages.split(long.SerializeToString(), allowance=Mock())


@pytest.mark.parametrize("content", [b"\xff" * 2_000_000, b"\x0a\x05ab", b"\xfb\x07" * 10, b"\x00"])
def test_a_message_that_is_damaged_is_refused_before_it_is_parsed(content: bytes) -> None:
    with pytest.raises(Unparsable, match="it is damaged"):
        messages.split(content, allowance=Mock())
    assert messages.identifier(content) == ""


def test_the_id_of_a_request_is_read_without_the_rest() -> None:
    assert messages.identifier(request(LABEL, id="seven").SerializeToString()) == "seven"
    assert messages.identifier(request(LABEL).SerializeToString()) == ""


class _Content:
    """What a call was sent."""


def test_a_call_that_is_refused_keeps_nothing_of_its_request() -> None:
    """The call keeps the exception that ended it, and thus the frames of that exception's traceback."""
    sent, rpc, calls = [_Content()], Mock(), Calls(Mock(), Mock(), Mock(), None, None)
    kept, held = weakref.ref(sent[0]), list[BaseException]()

    async def read() -> Any:
        return sent.pop()

    async def ended(*_: Any) -> None:
        try:
            raise grpc.aio.AbortError
        except grpc.aio.AbortError as error:
            held.append(error)
            raise

    async def refuse(_: Any) -> Any:
        raise Unparsable("it is damaged")

    async def check() -> None:
        rpc.invocation_metadata.return_value, rpc.read, rpc.abort = (), read, ended
        calls.deadline = lambda: nullcontext(Mock())  # type: ignore[assignment,method-assign,return-value]
        with pytest.raises(grpc.aio.AbortError):
            await calls.handler(Method("infer", refuse)).stream_unary(None, rpc)

    gc.disable()
    try:
        asyncio.run(check())
        assert held
        assert kept() is None
    finally:
        gc.enable()
