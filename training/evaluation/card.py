"""The model card: description of a stored model, its metrics, and the command that measures them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from models_store.latent import Latent
from models_store.manifest import Manifest
from training.evaluation.evaluated import EvaluatedModel
from training.evaluation.metrics import Corrupted, Gain
from training.evaluation.pictures import pictures

FOLDER = "report/"
CARD = FOLDER + "card.md"

CAPTIONS = {
    "reconstructions": "Held-out rows; below, what the model makes of them alone, and of all that a row has.",
    "from": "In the first line held-out rows, or labels; below, what the model generates from them, z sampled"
    " anew in every line.",
    "latent_map": "Posterior means of held-out rows on the two axes of the latent map.",
    "losses": "The objective, epoch by epoch, with the weights of training.",
    "reliability": "A label that is said to be 70 % probable should be right in 70 of 100 rows.",
}

MOST_VIEWS = 5
"""Most views per target in the table of their values."""

Table = Sequence[Sequence[str]]
Section = tuple[str, str, Sequence[str], Table]
"""A section of the card: title, explanation, header and rows of its table."""


class Study(NamedTuple):
    """Results of an ablation study of the experiment, shown on the card.

    Arguments:
        title: Title of the section.
        lines: Lines of the section, in Markdown.
        file: File name of the picture.
        picture: The picture, PNG.
        caption: Caption of the picture.
    """

    title: str
    lines: Sequence[str]
    file: str
    picture: bytes
    caption: str


def report(
    evaluated: EvaluatedModel, latent: Latent | None, manifest: Manifest, studies: Sequence[Study] = ()
) -> dict[str, bytes]:
    """Returns the files of the folder ``report/`` by name: the card and its pictures.

    Arguments:
        evaluated: The model.
        latent: Its latent space, if it was fitted.
        manifest: Its manifest, with metrics.
        studies: Ablation studies of its experiment.
    """
    drawn = pictures(evaluated, latent, manifest.metrics)
    drawn |= {study.file: study.picture for study in studies}
    files = {FOLDER + name: content for name, content in drawn.items()}
    return {CARD: card_of(manifest, list(drawn), studies).encode(), **files}


def card_of(manifest: Manifest, drawn: Sequence[str], studies: Sequence[Study] = ()) -> str:
    """Returns the card in Markdown.

    Arguments:
        manifest: Manifest of the model, with metrics.
        drawn: File names of the pictures in the folder ``report/``.
        studies: Ablation studies of its experiment.
    """
    captions = {study.file: study.caption for study in studies}
    return _card(manifest, {name: captions.get(name) or _caption(name) for name in drawn}, studies)


def _caption(picture: str) -> str:
    return CAPTIONS["from" if picture.startswith("from_") else picture.removesuffix(".png")]


def _card(manifest: Manifest, captions: Mapping[str, str], studies: Sequence[Study]) -> str:
    """The head, which is read first, and the details, which unfold."""
    details = [*_modalities(manifest), "", *_measured(manifest)]
    for study in studies:
        details += ["", f"### {study.title}", "", *study.lines]
    if captions:
        details += ["", "## Pictures"]
    for name, caption in captions.items():
        details += ["", f"![{name}]({name})", "", caption]
    details += ["", "## Trained", "", *_trained(manifest.trained)]
    lines = [*_head(manifest), "", "<details>", "<summary>Details</summary>", "", *details, "", "</details>"]
    return "\n".join(lines) + "\n"


def _head(manifest: Manifest) -> list[str]:
    """Rows, gains over simpler predictions, description and licence."""
    lines = [f"# {manifest.name} {manifest.version}", "", _rows_used(manifest), ""]
    table = _gains(manifest.metrics.get("gains", {}))
    if table:
        head = (
            "from all others",
            "gain over training mean",
            "gain over ridge / logistic",
            "in 90 % interval",
            "rows",
        )
        lines += [*_table(head, table), ""]
    stated = (manifest.description, manifest.licence and f"Licence: {manifest.licence}")
    return lines[:-1] + [line for text in stated if text for line in ("", text)]


def _rows_used(manifest: Manifest) -> str:
    data, members = manifest.trained["data"], manifest.members
    training, choosing = f"{data['train_rows']} trained", f"{data['validation_rows']}"
    networks = members - manifest.linear_members
    if networks == 1:
        used = f"{training} it, {choosing} chose the epoch"
    else:
        used = f"{training} each of {networks} models, {choosing} others chose the epoch of each"
    if networks < members:
        weight = math.fsum(manifest.mixture.weights[networks:])
        used += f", both fitted the linear model, whose weight is {weight:.2f}"
    return (
        f"Rows: {used}, {data['test_rows']} tested it. Gains (± standard error over test rows) are shares of "
        "the variance (R²) or deviance, or nats of log-loss; above 0 the model is better."
    )


def _gains(gains: Mapping[str, Gain]) -> Table:
    return [
        (
            f"`{target}`",
            f"{gain['measure']} {_signed(gain['gain'])} ± {gain['gain_error']:.3f}",
            f"{_signed(gain['over_regression'])} ± {gain['over_regression_error']:.3f}"
            if "over_regression" in gain
            else "–",
            _share(gain.get("coverage_90")),
            str(gain["rows"]),
        )
        for target, gain in gains.items()
    ]


def _signed(number: float | None) -> str:
    return "–" if number is None else f"{number:+.3f}".replace("-", "−")


def _modalities(manifest: Manifest) -> list[str]:
    rows = [
        (
            m.name,
            m.kind,
            " × ".join(map(str, m.shape)) or f"{len(m.labels or ())} labels",
            m.dtype,
            m.likelihood,
        )
        for m in manifest.modalities
    ]
    return ["## Modalities", "", *_table(("name", "kind", "shape", "dtype", "likelihood"), rows, "---")]


def _measured(manifest: Manifest) -> list[str]:
    lines = [
        "## Measured",
        "",
        f"On held-out rows, by `anyview-train evaluate {manifest.name}`, which computes every number again.",
        "`a|b` is read: a, given b alone; `a|b,c`: a, given b and c. How each number is made, and what it "
        "does not say, is in `training/README.md`.",
    ]
    for title, text, head, table in (*_of_answers(manifest.metrics), *_of_the_model(manifest)):
        if table:
            lines += ["", f"### {title}", "", text, "", *_table(head, table)]
    return lines


def _of_answers(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """Yields the sections about predictions of modalities."""
    yield (
        "Labels",
        "The most probable label, z integrated out with 100 draws: how often it is right, the log-loss, and "
        "the expected calibration error.",
        ("question", "accuracy", "log-loss, nats", "ECE"),
        [
            (f"`{q}`", f"{accuracy:.4f}", f"{how['log_loss']:.4f}", f"{how['ece']:.4f}")
            for q, accuracy in metrics["accuracy"].items()
            for how in [metrics["calibration"][q]]
        ],
    )
    yield (
        "Generated",
        "z is sampled, and the mean of p(x | z) is shown to a classifier that learned from real rows alone: "
        "does it see the label of the row (coherence)? Variety: variance within a label ÷ that of real rows.",
        ("question", "coherence", "variety", "lowest label"),
        [
            (f"`{q}`", f"{coherence:.4f}", *_variety(metrics["variety"].get(q)))
            for q, coherence in metrics["coherence"].items()
        ],
    )
    yield (
        "The judges",
        "How often the classifiers are right about real held-out rows.",
        ("judge", "accuracy"),
        [(f"`{q}`", f"{accuracy:.4f}") for q, accuracy in metrics["judge_accuracy"].items()],
    )
    yield (
        "Numbers",
        "R² of the predictive mean, of vectors averaged over columns, and the share of cells within the "
        "central intervals that `/generate` answers, noise included; rows that calibrated them are left out.",
        ("question", "R²", "in the 50 % interval", "in the 80 % interval", "in the 90 % interval", "rows"),
        [
            (
                f"`{q}`",
                f"{v['r2']:.3f}",
                *(_share(v.get(f"coverage_{percent}")) for percent in (50, 80, 90)),
                str(v["rows"]),
            )
            for q, v in metrics["intervals"].items()
        ],
    )
    yield _value_of_views(metrics)
    yield corruptions(metrics.get("corruptions", {}))


def corruptions(measured: Mapping[str, Mapping[str, Corrupted]]) -> Section:
    """Returns the section about corrupted views."""
    return (
        "Corrupted views",
        "How often the label is right where one view is corrupted: given that view alone, beside a clean "
        "second view with `robust=true`, the same with `robust=false`; and a classifier of the view that was "
        "trained on the same rows.",
        ("view", "corruption", "alone", "beside", "robust", "not robust", "classifier", "rows"),
        [
            (
                f"`{view}`",
                corruption,
                _share(accuracy["alone"]),
                f"`{accuracy['second']}`" if "second" in accuracy else "–",
                _share(accuracy.get("beside_robust")),
                _share(accuracy.get("beside")),
                _share(accuracy.get("classifier")),
                str(accuracy["rows"]),
            )
            for view, by_corruption in measured.items()
            for corruption, accuracy in by_corruption.items()
        ],
    )


def corruption_table(measured: Mapping[str, Mapping[str, Corrupted]]) -> str:
    """Returns the section about corrupted views in Markdown."""
    title, text, head, table = corruptions(measured)
    return "\n".join([f"### {title}", "", text, "", *_table(head, table)])


def _value_of_views(metrics: Mapping[str, Any]) -> Section:
    return (
        "Value of views",
        "What a view adds to the predictions of a target: the gain over the training mean from all other "
        f"views, minus that without this one; and the gain from it alone. The first {MOST_VIEWS} views of "
        "each target; `GET /models/NAME/value` returns all.",
        ("target", "view", "adds", "alone", "rows"),
        [
            (
                f"`{target}`",
                f"`{view}`",
                f"{value['measure']} {_signed(one.get('added'))}",
                _signed(one.get("alone")),
                str(one["rows"]),
            )
            for target, value in metrics.get("value", {}).items()
            for view, one in list(value["views"].items())[:MOST_VIEWS]
        ],
    )


def _of_the_model(manifest: Manifest) -> Iterator[Section]:
    """Yields the sections about log-likelihoods, the latent space and reference scores."""
    metrics = manifest.metrics
    yield (
        "Likelihood",
        "Nats per row, with the standard error over the rows: log p(a) under the prior of z, log p(a | b) "
        "under q(z | b). Importance samples around the mode; `reliable`: for how many rows they suffice.",
        ("question", "log p", "rows", "K", "median ESS", "reliable"),
        [
            (
                f"`{q}`",
                f"{v['mean']:.2f} ± {v['std_error']:.2f}",
                str(v["rows"]),
                str(v["K"]),
                f"{v['median_ess']:.0f}",
                f"{v['reliable']:.2f}" if "reliable" in v else "–",
            )
            for q, v in metrics["log_prob"].items()
        ],
    )
    yield (
        "Latent space",
        "Linear probes: how often a logistic regression on the posterior mean is right.",
        ("question", "accuracy"),
        [(f"`{q}`", f"{accuracy:.4f}") for q, accuracy in metrics.get("probe", {}).items()],
    )
    yield (
        "Priors",
        "Held-out draws of z under the standard normal and under the mixture stored in `latent.npz` "
        "(`prior=mixture`), and how often the judges of all modalities agree on what a draw from it shows.",
        ("prior", "log-density, nats", *(f"agreement on {name}" for name in metrics.get("agreement", {}))),
        _priors(metrics),
    )
    yield (
        "Reference",
        "How held-out rows score, for `p_value` of `/score`: quantiles in nats, also of the disagreement.",
        ("question", "5 %", "50 %", "95 %", "disagreement 50 %", "95 %"),
        _reference(manifest),
    )


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.3f}"


def _variety(entry: Mapping[str, float] | None) -> tuple[str, str]:
    return ("–", "–") if entry is None else (f"{entry['mean']:.2f}", f"{entry['lowest']:.2f}")


def _priors(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    if "latent" not in metrics:
        return []
    entry = metrics["latent"]
    titles = {"standard": "standard normal", "mixture": f"mixture of {entry['components']}"}
    return [
        (title, f"{entry[prior]:.2f}", *(f"{rates[prior]:.3f}" for rates in metrics["agreement"].values()))
        for prior, title in titles.items()
    ]


def _reference(manifest: Manifest) -> list[tuple[str, ...]]:
    rows = []
    for conditional, entry in (manifest.reference or {}).items():
        scores = [f"{entry.quantiles[level]:.1f}" for level in (5, 50, 95)]
        apart = ["–", "–"]
        if entry.disagreement is not None:
            apart = [f"{entry.disagreement[level]:.1f}" for level in (50, 95)]
        rows.append((f"`{conditional}`", *scores, *apart))
    return rows


def _trained(trained: Mapping[str, Any]) -> list[str]:
    data, versions = trained["data"], trained["versions"]
    return [
        f"- experiment `{trained['experiment']}`, seed {trained['seed']}; its file is `experiment.toml`",
        f"- data: {data['source']}, {data['train_rows']} training rows, {data['validation_rows']} validation "
        f"rows, {data['test_rows']} test rows",
        "- " + ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]


def _table(head: Sequence[str], rows: Table, align: str = "---:") -> list[str]:
    """Returns a Markdown table; ``align`` aligns all columns but the first, by default to the right."""
    lines = [head, ["---", *[align] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
