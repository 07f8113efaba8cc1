"""One member of a stored ensemble, evaluated on rows that the others have seen."""

from __future__ import annotations

from models_store.arrays import Array
from models_store.golden import Graphs
from models_store.likelihoods import Parameters
from models_store.linear import EncoderOutput
from models_store.members import Members

KNOWN = -20.0
"""Log-variance of an expert that knows u."""


class MemberGraphs:
    """The graphs of an ensemble with u known, so that every answer is of one member.

    Arguments:
        graphs: Graphs of the ensemble.
        member: Number of the member, from 0.
        members: The members.
    """

    def __init__(self, graphs: Graphs, member: int, members: Members) -> None:
        self._graphs, self._u = graphs, members.centres[member]

    def encode(self, modality: str, x: Array) -> EncoderOutput:
        expert = self._graphs.encode(modality, x)
        mu, log_var = expert.mu.copy(), expert.log_var.copy()
        mu[:, -1], log_var[:, -1] = self._u, KNOWN
        return EncoderOutput(mu, log_var, expert.natural)

    def decode(self, modality: str, z: Array) -> Parameters:
        return self._graphs.decode(modality, z)
