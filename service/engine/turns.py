"""What is asked within one turn of the event loop, answered with one call. Knows nothing of what that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Turns(Generic[Question, Answer]):
    """Gathers the questions of a turn.

    Arguments:
        answer: Takes all of them, and gives an answer to each.
    """

    def __init__(self, answer: Callable[[Sequence[Question]], Sequence[Answer]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []

    def ask(self, question: Question, future: asyncio.Future[Answer]) -> None:
        """Has a question answered, or failed, in its future."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._end)
        self._waiting.append((question, future))

    def _end(self) -> None:
        asked, self._waiting = self._waiting, []
        if left := [(question, future) for question, future in asked if not future.done()]:
            self._settle(left)

    def _settle(self, asked: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = self._answer([question for question, _ in asked])
        except Exception as error:
            if len(asked) > 1:  # only those fail who fail alone
                for pair in asked:
                    self._settle([pair])
            else:
                asked[0][1].set_exception(error)
            return
        for (_, future), answer in zip(asked, answers, strict=True):
            future.set_result(answer)
