"""Errors as gRPC reports them: a status code, the sentence of the HTTP response, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from fastapi.exceptions import RequestValidationError
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from models_store.errors import BundleRefused, StoreAway
from service.errors import (
    ClientDisconnected,
    Conflict,
    Forbidden,
    NotAcceptable,
    NotFound,
    NotReady,
    PastDeadline,
    Refusal,
    TooBusy,
    TooLarge,
    TooSlow,
    UnknownMediaType,
    Unparsable,
    WrongInput,
    invalid_parameters,
)
from service.http.edge import FAILED


class Unauthenticated(Refusal):
    """The service has keys, and the call brought none of them."""


class Unimplemented(Refusal):
    """There is no such method."""


CODES: Mapping[type[Exception], StatusCode] = {
    Unparsable: StatusCode.INVALID_ARGUMENT,
    WrongInput: StatusCode.INVALID_ARGUMENT,
    RequestValidationError: StatusCode.INVALID_ARGUMENT,
    UnknownMediaType: StatusCode.INVALID_ARGUMENT,
    NotAcceptable: StatusCode.INVALID_ARGUMENT,
    Unauthenticated: StatusCode.UNAUTHENTICATED,
    Forbidden: StatusCode.PERMISSION_DENIED,
    NotFound: StatusCode.NOT_FOUND,
    Conflict: StatusCode.FAILED_PRECONDITION,
    TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    TooBusy: StatusCode.UNAVAILABLE,
    NotReady: StatusCode.UNAVAILABLE,
    BundleRefused: StatusCode.UNAVAILABLE,
    StoreAway: StatusCode.UNAVAILABLE,
    PastDeadline: StatusCode.DEADLINE_EXCEEDED,
    TooSlow: StatusCode.DEADLINE_EXCEEDED,
    ClientDisconnected: StatusCode.CANCELLED,
    Unimplemented: StatusCode.UNIMPLEMENTED,
}
HTTP: Mapping[StatusCode, HTTPStatus] = {
    StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    StatusCode.CANCELLED: HTTPStatus.BAD_REQUEST,
    StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_FOUND,
    StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""HTTP status of each code for metrics and logs, as google/rpc/code.proto maps them; a client that calls an
unknown method is no failure of the service."""
LONGEST_DETAIL = 4000
"""Characters of a detail: clients accept trailers of 8 KiB."""


class Failure(NamedTuple):
    """An error as gRPC reports it.

    Arguments:
        code: Status code.
        detail: What came, what is accepted, and where.
        retry_seconds: When to try again; None: not as it is.
    """

    code: StatusCode
    detail: str
    retry_seconds: int | None = None

    def trailers(self) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the metadata that say when to try again: gRPC's own, and google.rpc.RetryInfo."""
        if self.retry_seconds is None:
            return ()
        status = Status(code=self.code.value[0], message=self.detail)
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=self.retry_seconds)))
        return (
            ("grpc-retry-pushback-ms", str(1000 * self.retry_seconds)),
            ("grpc-status-details-bin", status.SerializeToString()),
        )


def failure(error: Exception) -> Failure:
    """Returns the status of an error: that of its most specific class, or INTERNAL for an unexpected one."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if code is None:
        return Failure(StatusCode.INTERNAL, FAILED)
    detail = invalid_parameters(error.errors()) if isinstance(error, RequestValidationError) else str(error)
    seconds = error.seconds if isinstance(error, TooBusy) else None
    return Failure(code, detail[:LONGEST_DETAIL], seconds)
