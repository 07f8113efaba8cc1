"""Checks of requests to a model: names of modalities, conditions, and sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from models_store.errors import listed
from models_store.kinds.base import MediaKind
from models_store.manifest import Manifest, Modality
from models_store.tables.dialect import normal
from service.engine.observations import Observations
from service.errors import TooLarge, WrongInput

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Largest sizes of one request: rows, draws per row, numbers of the response, and of the draws of z."""

    rows: int
    draws: int
    numbers: int
    drawn: int = 100_000_000


class Rules:
    """Checks requests to one model; each method raises an error if a request breaks a rule.

    Arguments:
        manifest: Manifest of the model.
        limits: Largest sizes of one request.
        mixture: Whether the model has a mixture to draw from instead of the prior.
    """

    def __init__(self, manifest: Manifest, limits: Limits, mixture: bool = False) -> None:
        self.manifest = manifest
        self.limits = limits
        self.names = manifest.names
        self._mixture = mixture
        self._modalities = {modality.name: modality for modality in manifest.modalities}
        self._by_header = _by_header(manifest)
        self.media = frozenset(one.name for one in manifest.modalities if isinstance(one.traits, MediaKind))
        """Names of the modalities whose files are pictures or sounds."""
        self.pictures = frozenset(one.name for one in manifest.modalities if one.traits.pictures)
        """Names of the modalities whose files are pictures."""

    def modality(self, name: str, rows: int = 0) -> Modality:
        """The modality of that name, or the only one with that header in the training tables.

        Arguments:
            name: Name as sent.
            rows: Number of its rows in the request.

        Raises:
            WrongInput: There is none; the text says which there are.
            TooLarge: There are more rows than one request may have.
        """
        modality = self._modalities.get(name) or self._by_header.get(normal(name))
        if modality is None:
            raise WrongInput(f"unknown modality {listed([name])}; this model knows {listed(self.names)}")
        if rows > self.limits.rows:
            self.check_rows(rows)
        return modality

    def by_modality(self, sent: Mapping[str, T]) -> Mapping[str, T]:
        """What was sent, by the names of the modalities; some may be under their header.

        Raises:
            WrongInput: A name is unknown, or a modality is there under its name and under its header.
        """
        if sent.keys() <= self._modalities.keys():
            return sent
        named = {self.modality(name).name: value for name, value in sent.items()}
        if len(named) < len(sent):
            raise WrongInput(f"a modality was sent twice, under its name and its header: {listed(sent)}")
        return named

    def check_rows(self, n: int) -> None:
        """Refuses more rows than one request may have; best called before arrays are made.

        Raises:
            TooLarge: There are more rows.
        """
        if n > self.limits.rows:
            raise TooLarge(f"{n} rows are more than the {self.limits.rows} that one request may have")

    def condition(self, observations: Observations, condition: Sequence[str]) -> tuple[str, ...]:
        """The names of the modalities that the posterior is given.

        Arguments:
            observations: Rows of the request.
            condition: ``cond_mod``: modalities, ``all`` (what was sent), or ``none`` (the prior).

        Raises:
            WrongInput: One was not sent, a row has nothing of them, or the prior is not asked for by name.
        """
        if list(condition) == ["none"]:
            if observations.columns:
                raise WrongInput(
                    f"cond_mod=none asks for the prior, but {listed(observations.columns)} was sent"
                )
            return ()
        if not observations.columns:
            raise WrongInput(
                f"nothing was sent: send at least one of {listed(self.names)}, "
                "or ask for the prior with cond_mod=none"
            )
        names = self._sent(observations, "cond_mod", condition)
        check_observed(observations, names)
        return names

    def encoding(self, observations: Observations, condition: Sequence[str], draws: int) -> tuple[str, ...]:
        """Names of the modalities that the posterior is given, of a request for it and for draws of z.

        Raises:
            WrongInput: As for :meth:`condition`, or z would be too large.
            TooLarge: There are more rows or draws than allowed.
        """
        names = self.condition(observations, condition)
        self.check_size(observations.n, draws)
        self.check_numbers(observations.n, draws * self.manifest.latent_dim, "of z", "N")
        return names

    def question(
        self, observations: Observations, condition: Sequence[str], targets: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of what is given, and of what is scored.

        Arguments:
            observations: Rows of the request.
            condition: ``cond_mod``, ``none`` for no condition.
            targets: ``gen_mod``: modalities, or ``all``: everything else that was sent.

        Raises:
            WrongInput: One was not sent, is on both sides, or a row has nothing on one of them.
        """
        if not observations.columns:
            raise WrongInput(f"nothing was sent to score: send at least one of {listed(self.names)}")
        given = () if list(condition) == ["none"] else self._sent(observations, "cond_mod", condition)
        scored = self._sent(observations, "gen_mod", targets)
        if list(targets) == ["all"]:
            scored = tuple(name for name in scored if name not in given)
            if not scored:
                raise WrongInput(
                    f"cond_mod names all that was sent, {listed(given)}: nothing is left to score"
                )
        both = [name for name in scored if name in given]
        if both:
            raise WrongInput(f"{listed(both)} cannot be scored given itself: it is in cond_mod and gen_mod")
        for names in filter(None, (given, scored)):
            check_observed(observations, names)
        return given, scored

    def targets(self, targets: Sequence[str]) -> tuple[str, ...]:
        """The modalities that ``gen_mod`` names.

        Raises:
            WrongInput: One is unknown.
        """
        if list(targets) == ["all"]:
            return self.names
        for name in targets:
            if name == "all":
                raise WrongInput("gen_mod is 'all' or names of modalities, not both")
        selected = {self.modality(name).name for name in targets}
        return tuple(name for name in self.names if name in selected)

    def check_prior(self, prior: str, given: Sequence[str], return_mean: bool) -> None:
        """Refuses a prior that the request cannot have.

        Raises:
            WrongInput: Something is given, there is no mixture, or its mean is asked for.
        """
        if prior == "standard":
            return
        if given:
            raise WrongInput(f"prior={prior} goes with cond_mod=none alone, but {listed(given)} is given")
        if not self._mixture:
            raise WrongInput(
                f"this version of '{self.manifest.name}' has no mixture; ask with prior=standard"
            )
        if return_mean:
            raise WrongInput("prior=mixture has no mean that is like a draw; leave out return_mean")

    def check_size(self, n: int, draws: int) -> None:
        """Refuses more rows, or more draws per row, than one request may have.

        Raises:
            TooLarge: There are more rows or draws.
        """
        self.check_rows(n)
        if draws > self.limits.draws:
            raise TooLarge(
                f"{draws} draws are more than the {self.limits.draws} that one request may ask for"
            )

    def check_drawn(self, n: int, by_row: int) -> None:
        """Refuses draws of z that would not fit into memory.

        Raises:
            WrongInput: There are too many numbers.
        """
        self._check_numbers(n, by_row, self.limits.drawn, "of z", "N or K")

    def check_numbers(self, n: int, by_row: int, what: str, less: str) -> None:
        """Refuses a result that would not fit into memory.

        Arguments:
            n: Number of rows.
            by_row: Numbers per row.
            what: Description of the numbers, for the message.
            less: Names of the parameters that reduce them.

        Raises:
            WrongInput: There are too many numbers.
        """
        self._check_numbers(n, by_row, self.limits.numbers, what, less)

    def _check_numbers(self, n: int, by_row: int, most: int, what: str, less: str) -> None:
        if n * by_row > most:
            raise WrongInput(
                f"{n} rows × {by_row} numbers {what} are {n * by_row}, more than the {most} "
                f"that one request may ask for; send fewer rows, or ask for less: {less}"
            )

    def _sent(self, observations: Observations, parameter: str, selected: Sequence[str]) -> tuple[str, ...]:
        """Names of the sent modalities that a parameter selects; ``all`` selects every one."""
        sent = tuple(filter(observations.columns.__contains__, self.names))
        if list(selected) == ["all"]:
            return sent
        for name in selected:
            if name in ("all", "none"):
                raise WrongInput(f"{parameter} is '{name}' or names of modalities, not both")
            if self.modality(name).name not in sent:
                raise WrongInput(f"{parameter} names '{name}', but only {listed(sent)} was sent")
        names = {self.modality(name).name for name in selected}
        return tuple(name for name in sent if name in names)


def _header(modality: Modality) -> str | None:
    """Header of the only column of a modality in the training table; None where it has several."""
    if modality.columns is not None and len(modality.columns) == 1:
        return modality.columns[0].field or modality.columns[0].name
    return modality.field


def _by_header(manifest: Manifest) -> dict[str, Modality]:
    """Modalities of one column by its header, where only one has it; files have their name alone."""
    headers = ((_header(one), one) for one in manifest.modalities)
    fields = [(normal(header), one) for header, one in headers if header is not None]
    uses = Counter(header for header, _ in fields)
    return {
        header: one for header, one in fields if uses[header] == 1 and not isinstance(one.traits, MediaKind)
    }


def check_observed(observations: Observations, names: Sequence[str]) -> None:
    """Refuses the first row that has none of these modalities.

    Raises:
        WrongInput: There is such a row.
    """
    for name in names:
        if observations.columns[name].mask is None:
            return
    observed = np.stack([observations.columns[name].present for name in names]).any(axis=0)
    if not observed.all():
        row = observations.first_row + int(np.argmin(observed))
        raise WrongInput(f"row {row} (counted from 0) has nothing observed of {listed(names)}")
