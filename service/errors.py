"""What a request can get wrong, in the words of the domain; app.py says which HTTP status each one is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models_store.errors import UnreadableFile, WrongValue


class Refusal(Exception):
    """A request that gets no answer; the text says what came, what was wanted, and where."""


class Unparsable(Refusal):
    """Bytes that are not what they claim to be: half a form, damaged JSON, a broken picture."""


class WrongInput(Refusal):
    """Readable, but no question for this model: a wrong subset, shape, label or parameter."""


class TooLarge(Refusal):
    """More bytes, rows or draws than the service is set to take."""


class UnknownMediaType(Refusal):
    """A request body in a form that is not known."""


class UnknownCoding(UnknownMediaType):
    """A content coding that is not known.

    Arguments:
        detail: The coding that came, and the known ones.
        codings: The known ones, for the header ``Accept-Encoding`` (RFC 9110, section 12.5.3).
    """

    def __init__(self, detail: str, codings: Sequence[str]) -> None:
        super().__init__(detail)
        self.codings = codings


class NotAcceptable(Refusal):
    """No form of the answer that was asked for exists."""


class NotFound(Refusal):
    """No such model or file."""


class Forbidden(Refusal):
    """Something that the service is set not to do."""


class Conflict(Refusal):
    """Something that a service which runs like this cannot do."""


class NotReady(Refusal):
    """No model can answer at present."""


class TooBusy(Refusal):
    """Others wait already, and more than may.

    Arguments:
        detail: How much waits.
        seconds: An estimate of how long that takes.
    """

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(detail)
        self.seconds = seconds


class PastDeadline(Refusal):
    """A question that took longer than it may."""


class TooSlow(Refusal):
    """A body that took longer to arrive than a request may."""


class ClientDisconnected(Refusal):
    """The client closed the connection before its response, which no client will read."""


def located(where: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a codec, and says where in the request it failed.

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
