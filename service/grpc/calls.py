"""Record, key, deadline and status of every call: what ``http/edge`` and its layers are over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, NoReturn, TypeAlias

import grpc
import grpc.aio
from starlette.types import Message

from service.engine.phases import CURRENT
from service.errors import Unparsable
from service.grpc.status import HTTP, Failure, Unauthenticated, failure
from service.http.deadlines import Deadlines, RequestDeadline
from service.http.edge import request_id
from service.http.security import NO_KEY, KeyDigests, bearer
from service.models.catalog import Catalog
from service.telemetry.context import RequestContext
from service.telemetry.metrics import Metrics, record_end
from service.telemetry.tracing import Tracer

log = logging.getLogger("anyview")

SILENCE_SECONDS = 0.1
"""At the end of the service, a stream ends once it was silent for so long."""

Rpc: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Headers = Mapping[bytes, bytes]


class Call(NamedTuple):
    """A call, or one message of a stream.

    Arguments:
        catalog: The loaded models.
        context: Record of the call.
        content: Message of the request, serialized.
        authorized: Whether the call brought a key, or needs none.
    """

    catalog: Catalog
    context: RequestContext
    content: bytes
    authorized: bool = True


class Method(NamedTuple):
    """One method with one request and one response.

    Arguments:
        operation: Name of the operation in metrics, logs and traces.
        respond: Returns the message of the response; its exceptions become the status of the call.
        admit: Whether the call is refused while too many rows wait.
        open: Whether the call needs no key.
    """

    operation: str
    respond: Callable[[Call], Awaitable[Any]]
    admit: bool = False
    open: bool = False


class Calls:
    """Answers calls.

    Arguments:
        catalog: The loaded models.
        deadlines: Deadlines of all requests.
        metrics: Counters of requests.
        tracer: Writer of traces; None: no traces.
        keys: Keys of the service; None: no key is needed.
    """

    def __init__(
        self,
        catalog: Catalog,
        deadlines: Deadlines,
        metrics: Metrics,
        tracer: Tracer | None,
        keys: KeyDigests | None,
    ) -> None:
        self.catalog = catalog
        self._deadlines = deadlines
        self.metrics = metrics
        self.tracer = tracer
        self._keys = keys
        self.streams = OpenStreams()

    def handler(self, method: Method) -> Any:
        """Returns the handler of a method.

        It reads the request itself, as from a stream of one message: the key is checked before the request
        arrives, and the deadline includes the upload.
        """

        async def handle(_requests: AsyncIterator[bytes], rpc: Rpc) -> bytes:
            return await self._answer(method, rpc)

        return grpc.stream_unary_rpc_method_handler(handle)

    def authorized(self, headers: Headers) -> bool:
        """Whether a call brings a key, or needs none."""
        return self._keys is None or self._keys.accepts(bearer(headers))

    async def check_key(self, rpc: Rpc) -> None:
        """Ends a stream that brought no key.

        Raises:
            grpc.aio.AbortError: It did not, and the service has keys.
        """
        headers = headers_of(rpc)
        if not self.authorized(headers):
            await abort(rpc, failure(Unauthenticated(NO_KEY)), request_id(headers))

    def deadline(self) -> RequestDeadline:
        """Returns the deadline of the current call or message, a context manager.

        gRPC itself cancels the task of a client that disconnects or is past its own deadline.
        """
        return self._deadlines.limit(_no_disconnect)

    async def _answer(self, method: Method, rpc: Rpc) -> bytes:
        headers = headers_of(rpc)
        record, reason = Record(self, method.operation, headers), None
        try:
            with record as context:
                content = await self._respond(method, headers, rpc, context)
        except Exception as error:
            reason = failure(error)
        if reason is not None:  # not above: the call keeps the exception of `abort`, and so all that it names
            await abort(rpc, reason, record.context.request_id)
        rpc.set_trailing_metadata((("x-request-id", record.context.request_id),))
        return content

    async def _respond(self, method: Method, headers: Headers, rpc: Rpc, context: RequestContext) -> bytes:
        authorized = self.authorized(headers)
        if not (authorized or method.open):
            raise Unauthenticated(NO_KEY)
        if method.admit:
            self.catalog.admit()
        with self.deadline() as deadline:
            content: Any = await rpc.read()
            if content is grpc.aio.EOF:
                raise Unparsable("the call ended without a request")
            deadline.uploaded = True
            response = await method.respond(Call(self.catalog, context, content, authorized))
            return bytes(response.SerializeToString())


class OpenStreams:
    """Streams that are open; the end of the service ends them."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()

    async def messages(self, rpc: Rpc) -> AsyncIterator[Any]:
        """Yields the messages of a stream until it ends; at the end of the service, until it is silent."""
        ending = asyncio.ensure_future(self.ending.wait())
        try:
            while (content := await self._next(rpc, ending)) is not grpc.aio.EOF:
                yield content
        finally:
            ending.cancel()

    async def _next(self, rpc: Rpc, ending: asyncio.Future[Any]) -> Any:
        reading = asyncio.ensure_future(rpc.read())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait({reading}, timeout=SILENCE_SECONDS)
            return reading.result() if reading.done() else grpc.aio.EOF
        finally:
            reading.cancel()


class Record:
    """Counts, logs and traces its ``with`` block, with the status of the exception that leaves it.

    Arguments:
        calls: Counters and traces.
        operation: Name of the operation.
        headers: Metadata of the call.
    """

    def __init__(self, calls: Calls, operation: str, headers: Headers) -> None:
        self._calls = calls
        self._headers = headers
        self.context = RequestContext(request_id(headers), operation=operation)

    def __enter__(self) -> RequestContext:
        CURRENT.set(self.context.phases)
        if self._calls.tracer is not None:
            self._calls.tracer.begin(self.context, self._headers)
        return self.context

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        context, calls = self.context, self._calls
        context.status = _status(error)
        if context.status == HTTP[grpc.StatusCode.INTERNAL]:
            fields = {"request_id": context.request_id}
            log.error("the service failed", exc_info=error, extra={"fields": fields})
        context.phases.finish()
        record_end(context, calls.metrics, calls.tracer)


def _status(error: BaseException | None) -> int:
    """Returns the status of HTTP that means the same; a cancelled call was cancelled by its client."""
    if error is None:
        return 200
    return HTTP[failure(error).code if isinstance(error, Exception) else grpc.StatusCode.CANCELLED]


def headers_of(rpc: Rpc) -> Headers:
    """Returns the metadata of a call as HTTP's headers."""
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode("latin1", "replace")
        for name, value in rpc.invocation_metadata() or ()
    }


async def abort(rpc: Rpc, status: Failure, identifier: str) -> NoReturn:
    """Ends a call with the status of an error.

    Arguments:
        rpc: The call.
        status: Status of the error.
        identifier: Id of the request in the log.

    Raises:
        grpc.aio.AbortError: The status is sent.
        CancelledError: The call has ended already, such as by a message beyond the limit.
    """
    try:
        await rpc.abort(status.code, status.detail, (("x-request-id", identifier), *status.trailers()))
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError:
        pass
    raise asyncio.CancelledError


async def _no_disconnect() -> Message:
    disconnect: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await disconnect
