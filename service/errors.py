"""Reasons to refuse a request; ``app.STATUS`` maps each class to an HTTP status."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from models_store.errors import UnreadableFile, WrongValue, shown


class Refusal(Exception):
    """The request is refused; the text states what came, what is accepted, and where."""


class Unparsable(Refusal):
    """The bytes cannot be read as their declared type: a cut form, damaged JSON, a broken picture."""


class WrongInput(Refusal):
    """The input can be read but does not fit the model: a wrong subset, shape, label or parameter."""


class TooLarge(Refusal):
    """The request has more bytes, rows or draws than the settings allow."""


class UnknownMediaType(Refusal):
    """The media type of the body is not supported."""


class UnknownCoding(UnknownMediaType):
    """The content coding of the body is not supported.

    Arguments:
        detail: The coding that came, and the supported ones.
        codings: Supported codings, for the header ``Accept-Encoding`` (RFC 9110, section 12.5.3).
    """

    def __init__(self, detail: str, codings: Sequence[str]) -> None:
        super().__init__(detail)
        self.codings = codings


class NotAcceptable(Refusal):
    """The response exists in no media type that the client accepts."""


class NotFound(Refusal):
    """There is no such model, version or file."""


class Forbidden(Refusal):
    """The settings do not allow this."""


class Conflict(Refusal):
    """The service cannot do this in its present setup, such as with several processes."""


class NotReady(Refusal):
    """No model can answer at present."""


class TooBusy(Refusal):
    """More rows wait, or more work is in progress, than the settings allow.

    Arguments:
        detail: Amount of work that others have.
        seconds: Estimated time until they are done, in seconds.
    """

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(detail)
        self.seconds = seconds


class PastDeadline(Refusal):
    """The request was not answered within its deadline."""


class TooSlow(Refusal):
    """The body was not complete within the deadline of the request."""


class ClientDisconnected(Refusal):
    """The client closed the connection before the response."""


def located(where: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function that reads input, and puts the place in the request before its errors.

    Arguments:
        where: Place in the request, the first words of the message.
        read: Function to call.
        *arguments: Its arguments.

    Raises:
        Unparsable: A file cannot be read.
        WrongInput: A value does not fit.
    """
    try:
        return read(*arguments)
    except UnreadableFile as error:
        raise Unparsable(f"{where}: {error}") from None
    except WrongValue as error:
        raise WrongInput(f"{where}: {error}") from None


def invalid_parameters(errors: Iterable[Mapping[str, Any]]) -> str:
    """Describes the validation errors of parameters, one sentence for each."""
    return "; ".join(map(_invalid_parameter, errors))


def _invalid_parameter(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown parameter '{error['loc'][-1]}'"
    return invalid(error)


def invalid(error: Mapping[str, Any], *, show_input: bool = True) -> str:
    """Describes a validation error of pydantic in a sentence: where, what is accepted, what came.

    Arguments:
        error: One of the errors that ``ValidationError.errors`` returns.
        show_input: Whether the message shows the value that came.
    """
    where = " ".join(str(part) for part in error["loc"])
    got = f", got {shown(error['input'])}" if show_input else ""
    return f"{where}: {error['msg']}{got}"
