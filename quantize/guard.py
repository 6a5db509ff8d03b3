"""May this quantised model take the float one's place? A pure function of scores.

With labels, the drop of (SRCC + PLCC) / 2 and its interval over people (or pictures) is held
against the budget. Without labels only agreement with the float scores can be judged, and the
verdict says so. Loads numpy alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fiqa import metrics
from fiqa.bootstrap import Interval, bootstrap_difference, bootstrap_interval
from fiqa.decisions import Shift, score_shift
from fiqa.errors import InputError, MetricError
from fiqa.vectors import FEWEST_SAMPLES, Floats

Status = Literal["pass", "fail", "inconclusive", "unchecked"]
Judged = Literal["labels", "agreement"]

FEWEST = 30  # pictures below which no interval is worth the name
MOST_NEEDED = 1_000_000  # beyond it, more pictures are no advice


@dataclass(frozen=True)
class GuardPolicy:
    """What a quantised model may cost. `threshold` counts decisions that flip."""

    max_drop: float = 0.005  # of (SRCC + PLCC) / 2
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise InputError(f"a largest drop of {self.max_drop}", expected="0 to 1")


@dataclass(frozen=True)
class Drop:
    """What is lost, positive for a loss, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """Agreement of one model's scores with the labels."""

    score: float  # (SRCC + PLCC) / 2
    srcc: float
    plcc: float


@dataclass(frozen=True)
class Verdict:
    """`pass` only where the whole interval lies within the budget."""

    status: Status
    reason: str
    policy: GuardPolicy
    judged: Judged
    count: int
    people: int  # whole people were drawn for the interval; 0: pictures
    drop: Drop | None = None
    before: Figures | None = None  # None without labels
    after: Figures | None = None
    shift: Shift | None = None
    pictures_needed: int | None = None  # that would decide, where more would

    @property
    def ok(self) -> bool:
        return self.status == "pass"


def decide(
    before: Floats,
    after: Floats,
    labels: Floats | None = None,
    identities: Sequence[Hashable] | None = None,
    policy: GuardPolicy | None = None,
) -> Verdict:
    """Judge the scores `after` quantising by those `before`, of the same pictures."""
    policy = policy or GuardPolicy()
    _check_lengths(before, after, labels, identities)
    judged: Judged = "agreement" if labels is None else "labels"
    people = len(set(identities)) if identities is not None else 0
    people = people if people >= FEWEST_SAMPLES else 0
    known = identities if people else None
    base = Verdict("unchecked", "", policy, judged, len(before), people)

    def verdict(status: Status, reason: str, **found: Any) -> Verdict:
        return dataclasses.replace(base, status=status, reason=reason, **found)

    if len(before) < FEWEST:
        return verdict("unchecked", f"{len(before)} pictures are too few: {FEWEST} or more")
    if not np.isfinite(before).all():
        return verdict("unchecked", "the float model gives scores that are no numbers")
    if labels is not None and np.ptp(labels) == 0:
        return verdict("unchecked", "all labels are equal")
    if np.ptp(before) == 0:
        return verdict("unchecked", "the float model gives one score for all pictures")
    broken = int((~np.isfinite(after)).sum())
    if broken:
        return verdict("fail", f"{broken} of {len(after)} quantised scores are no numbers")
    shift = score_shift(before, after, threshold=policy.threshold)
    if np.ptp(after) == 0:
        reason = "the quantised model gives one score for all pictures"
        return verdict("fail", reason, shift=shift)
    try:
        drop, figures = _measure(before, after, labels, known)
    except MetricError as error:
        return verdict("unchecked", f"no interval: {error.found}", shift=shift)
    status, reason = _judge(drop, policy.max_drop, judged)
    needed = _needed(drop, policy.max_drop, len(before)) if status == "inconclusive" else None
    return verdict(
        status, reason, drop=drop, before=figures[0], after=figures[1], shift=shift,
        pictures_needed=needed,
    )  # fmt: skip


def _check_lengths(
    before: Floats, after: Floats, labels: Floats | None, identities: Sequence[Hashable] | None
) -> None:
    counts = {len(one) for one in (before, after, labels, identities) if one is not None}
    if len(counts) != 1:
        raise InputError(
            f"vectors of {', '.join(map(str, sorted(counts)))} values",
            expected="one score, label and identity for each picture",
        )


def _measure(
    before: Floats, after: Floats, labels: Floats | None, people: Sequence[Hashable] | None
) -> tuple[Drop, tuple[Figures | None, Figures | None]]:
    if labels is None:
        agreement = bootstrap_interval("score", after, before, identities=people)
        return _loss(agreement, 1.0), (None, None)
    gain = bootstrap_difference("score", after, before, labels, identities=people)
    return _loss(gain, 0.0), (_figures(before, labels), _figures(after, labels))


def _loss(interval: Interval, whole: float) -> Drop:
    """The interval of what is missing from `whole`."""
    return Drop(whole - interval.estimate, whole - interval.high, whole - interval.low)


def _figures(scores: Floats, labels: Floats) -> Figures:
    return Figures(
        metrics.challenge_score(scores, labels),
        metrics.srcc(scores, labels),
        metrics.plcc(scores, labels),
    )


def _judge(drop: Drop, budget: float, judged: Judged) -> tuple[Status, str]:
    what = "the drop" if judged == "labels" else "what is missing from agreement (no labels)"
    if drop.high <= budget:
        return "pass", f"{what} lies within {budget:g} with its whole interval"
    if drop.low > budget:
        return "fail", f"{what} lies above {budget:g} with its whole interval"
    return "inconclusive", f"{what} may lie on either side of {budget:g}"


def _needed(drop: Drop, budget: float, count: int) -> int | None:
    """Pictures at which the interval would leave the budget on one side.

    Its half on that side shrinks with the root of their number.
    """
    gap = budget - drop.value
    half = drop.high - drop.value if gap > 0 else drop.value - drop.low
    if gap == 0:
        return None
    needed = math.ceil(count * (half / gap) ** 2)
    return needed if needed <= MOST_NEEDED else None
