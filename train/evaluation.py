"""Scores and labels to an Evaluation: how good, where good, and which pictures are ranked worst.

Everything is told per split. Breakdowns say for which degradations and for which range of
labels the scores are off; a picture that suffered several kinds counts for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fiqa import decisions, metrics
from fiqa.decisions import DiscardCurve, Rejection
from fiqa.errors import InputError, MetricError
from fiqa.labels import SPLIT_NAMES, LabelSet
from fiqa.manifest import DataRecord
from fiqa.records import check_schema, from_plain, read_json
from fiqa.vectors import Floats
from train.any_model import ModelFacts
from train.figures import LEVEL, Estimate, Units, advantage, agreement, units_of
from train.recorded_steps import Kinds

SCHEMA = 1
VALIDATION = ("val", "val_ood")
WHOLE = "all"  # the split's name where a set has none
CLEAN = "(none)"  # pictures whose steps are recorded as none
LABEL_EDGES = (0.2, 0.4, 0.6, 0.8)
FEWEST_FOR_SRCC = 10  # below it, one swap of neighbours moves the SRCC by more than 0.012
LEAST_SPREAD = 0.01  # of labels: clean pictures are all about 1, and their order is chance
WORST = 10


@dataclass(frozen=True)
class Scored:
    """The pictures of one split with what a model, and perhaps a baseline, gave them."""

    split: str
    labels: LabelSet
    scores: Floats
    baseline: Floats | None = None
    kinds: Sequence[Kinds] | None = None  # a picture's degradations; None: not recorded

    @property
    def rank_errors(self) -> Floats:
        """How far up the ranking each picture stands too high, as a share of the split."""
        ranks = metrics.midranks(self.scores) - metrics.midranks(self.labels.scores)
        return np.asarray(ranks / len(self.labels), np.float64)


@dataclass(frozen=True)
class Group:
    """A part of a split. bias: mean of score - label; mae: mean of its magnitude."""

    name: str
    count: int
    bias: float | None
    mae: float | None
    srcc: float | None
    reason: str = ""  # why a figure is missing: "empty", "too few" or "no variation"


@dataclass(frozen=True)
class Misranked:
    """A picture far from its place. rank_error: share of the split it stands too high by."""

    image: str
    label: float
    score: float
    rank_error: float
    degradations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitEvaluation:
    """All that is said of one split. `units`: what the intervals draw."""

    split: str
    count: int
    people: int
    units: Units
    figures: dict[str, Estimate]
    by_label: tuple[Group, ...]
    by_degradation: tuple[Group, ...]  # empty: no degradations recorded
    worst: tuple[Misranked, ...]
    discard: DiscardCurve | None  # None: the labels do not vary
    advantage: dict[str, Estimate] | None = None  # over the baseline


@dataclass(frozen=True)
class Proposal:
    """A threshold for a wished share of rejections, and what it rejects on its split.

    Bad pictures are those with a label below `bad_below`, the lowest fifth. The shares of bad
    ones are None where `reason` says so.
    """

    split: str
    rejection: Rejection
    bad_below: float | None
    bad_share: float | None
    bad_share_of_rejected: float | None
    rejected_share_of_bad: float | None
    reason: str = ""


@dataclass(frozen=True)
class Evaluation:
    """One model on one label set; `level` is that of every interval."""

    model: ModelFacts
    data: DataRecord
    splits: tuple[SplitEvaluation, ...]
    schema: int = SCHEMA
    level: float = LEVEL
    baseline: ModelFacts | None = None
    proposal: Proposal | None = None


def read_evaluation(path: Path) -> Evaluation:
    """An evaluation.json, strictly."""
    document = read_json(path)
    check_schema(document, SCHEMA, str(path))
    return from_plain(Evaluation, document, str(path))


def choose_splits(labels: LabelSet, asked: Sequence[str] | None) -> dict[str, LabelSet]:
    """The splits to measure, by name: those asked for, else all that are not for training."""
    named = [name for name in labels.split_names if name]
    if asked:
        names = [SPLIT_NAMES.get(name, name) for name in asked]
        return {name: labels.select(name) for name in dict.fromkeys(names)}
    if not named:
        return {WHOLE: labels}
    kept = [name for name in named if name != "train"]
    if not kept:
        raise InputError(
            f"{labels.name} has the split train only",
            expected="pictures the model was not trained on",
            fix="name another --data, or ask for it: --split train",
        )
    return {name: labels.select(name) for name in kept}


def judged_splits(labels: LabelSet, asked: Sequence[str] | None = None) -> dict[str, LabelSet]:
    """The same for a choice: val and val_ood where the set has them; tests are for the end."""
    first = [name for name in VALIDATION if name in labels.split_names]
    return choose_splits(labels, asked or first or None)


def seen_in_training(
    trained_on: Sequence[DataRecord], labels: LabelSet, splits: Iterable[str]
) -> int:
    """How many of the pictures judged the model learned from, as far as sets are known by hash.

    A set without splits was parted inside the training: most of it was learned from.
    """
    if not {WHOLE, "train"} & set(splits):
        return 0
    same = [one for one in trained_on if one.role == "train" and one.sha256 == labels.sha256]
    return sum(one.count for one in same)


def evaluate_split(scored: Scored) -> SplitEvaluation:
    """All figures of one split."""
    labels, identities = scored.labels.scores, scored.labels.identities
    compared = None
    if scored.baseline is not None:
        compared = advantage(scored.scores, scored.baseline, labels, identities)
    return SplitEvaluation(
        split=scored.split,
        count=len(scored.labels),
        people=len(set(identities or ())),
        units=units_of(identities),
        figures=agreement(scored.scores, labels, identities),
        by_label=by_label(scored.scores, labels),
        by_degradation=by_degradation(scored.scores, labels, scored.kinds),
        worst=worst_of(scored),
        discard=discard_of(scored.scores, labels),
        advantage=compared,
    )


def by_label(scores: Floats, labels: Floats) -> tuple[Group, ...]:
    """Five equal ranges of the label, the lowest first; the last one holds 1.0 too."""
    place = np.digitize(labels, LABEL_EDGES)
    edges = (0.0, *LABEL_EDGES, 1.0)
    return tuple(
        _group(f"{edges[part]:.1f}-{edges[part + 1]:.1f}", scores, labels, place == part)
        for part in range(len(LABEL_EDGES) + 1)
    )


def by_degradation(
    scores: Floats, labels: Floats, kinds: Sequence[Kinds] | None
) -> tuple[Group, ...]:
    """One group a kind of degradation, by name; clean pictures first."""
    if kinds is None:
        return ()
    names = sorted({name for own in kinds for name in own})
    members = {CLEAN: np.array([not own for own in kinds])}
    members |= {name: np.array([name in own for own in kinds]) for name in names}
    return tuple(_group(name, scores, labels, part) for name, part in members.items() if part.any())


def worst_rows(scored: Scored, count: int = WORST) -> list[int]:
    """Which are farthest from their place in the ranking; ties by the error of the score."""
    labels, errors = scored.labels.scores, scored.rank_errors
    order = np.lexsort((-np.abs(scored.scores - labels), -np.abs(errors)))
    return [int(place) for place in order[:count]]


def worst_of(scored: Scored, count: int = WORST) -> tuple[Misranked, ...]:
    """What is told of these."""
    labels, errors = scored.labels.scores, scored.rank_errors
    return tuple(
        Misranked(
            scored.labels.rows[place].image,
            float(labels[place]),
            float(scored.scores[place]),
            float(errors[place]),
            tuple(scored.kinds[place]) if scored.kinds is not None else (),
        )
        for place in worst_rows(scored, count)
    )


def discard_of(scores: Floats, labels: Floats) -> DiscardCurve | None:
    try:
        return decisions.discard_curve(scores, labels)
    except MetricError:
        return None


# ---------------------------------------------------------------- thresholds


def threshold_split(names: Sequence[str]) -> str:
    """Where a threshold may be chosen: val, else the first that is not for testing, if any."""
    if "val" in names:
        return "val"
    return next((name for name in names if not is_for_testing(name)), names[0])


def is_for_testing(split: str) -> bool:
    """Nothing may be chosen on such a split if it is to be stored."""
    return split.startswith("test")


def propose_threshold(parts: Mapping[str, Scored], rate: float) -> Proposal:
    """The threshold that rejects `rate` of the pictures of the split `threshold_split` names."""
    split = threshold_split(list(parts))
    scores, labels = parts[split].scores, parts[split].labels.scores
    rejection = decisions.threshold_for_rejection(scores, rate)
    curve = discard_of(scores, labels)
    if curve is None:
        reason = "the labels do not tell good from bad"
        return Proposal(split, rejection, None, None, None, None, reason)
    rejected, bad = scores < rejection.threshold, labels < curve.bad_below
    return Proposal(
        split,
        rejection,
        curve.bad_below,
        curve.bad_share,
        float(bad[rejected].mean()) if rejected.any() else None,
        float(rejected[bad].mean()),
        "" if rejected.any() else "nothing is rejected: tied scores, or a small rate",
    )


def _group(name: str, scores: Floats, labels: Floats, part: NDArray[np.bool_]) -> Group:
    count = int(part.sum())
    if count == 0:
        return Group(name, 0, None, None, None, "empty")
    x, y = scores[part], labels[part]
    bias, mae = float((x - y).mean()), float(np.abs(x - y).mean())
    if count < FEWEST_FOR_SRCC:
        return Group(name, count, bias, mae, None, "too few")
    if np.ptp(y) < LEAST_SPREAD:
        return Group(name, count, bias, mae, None, "no variation")
    try:
        return Group(name, count, bias, mae, metrics.srcc(x, y))
    except MetricError:
        return Group(name, count, bias, mae, None, "no variation")
