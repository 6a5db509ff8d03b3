"""fiqa: what every part speaks. Contract, labels, metrics, manifests and scoring, on numpy.

    >>> import fiqa
    >>> scorer = fiqa.Scorer("student_int8.tflite")
    >>> scorer.score(["a.jpg", "b.jpg"])       # float64, one a picture, about 0 to 1

Scorer, Face     pictures to scores; a face's Box or Square is in pixels of the upright picture
Detector         faces in whole photos
read_labels      pictures with scores (0 to 1), people and splits, checked: a LabelSet
evaluate_scores  how well scores agree with labels
read_manifest    what an artifact is, where it comes from, what was proved: a Manifest
PreprocessSpec   from a picture to the model's bytes; load_picture decodes one
ToolkitError     the base of every error that a user can cause or mend

Names load on first use. docs/python.md has an example of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiqa.contract import Box, PreprocessSpec, Square, load_picture
    from fiqa.detector import Detector
    from fiqa.errors import ToolkitError
    from fiqa.labels import LabelSet, read_labels
    from fiqa.manifest import Manifest, read_manifest
    from fiqa.metrics import evaluate_scores
    from fiqa.runtime import Face, Scorer

__version__ = "0.1.0"

_HOME = {
    "Box": "fiqa.contract",
    "Detector": "fiqa.detector",
    "Face": "fiqa.runtime",
    "LabelSet": "fiqa.labels",
    "Manifest": "fiqa.manifest",
    "PreprocessSpec": "fiqa.contract",
    "Scorer": "fiqa.runtime",
    "Square": "fiqa.contract",
    "ToolkitError": "fiqa.errors",
    "evaluate_scores": "fiqa.metrics",
    "load_picture": "fiqa.contract",
    "read_labels": "fiqa.labels",
    "read_manifest": "fiqa.manifest",
}

__all__ = [
    "Box",
    "Detector",
    "Face",
    "LabelSet",
    "Manifest",
    "PreprocessSpec",
    "Scorer",
    "Square",
    "ToolkitError",
    "evaluate_scores",
    "load_picture",
    "read_labels",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import fiqa` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'fiqa' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """So that shells and editors offer names that are not loaded yet."""
    return [*globals(), *__all__]
