"""fiqa: what every part speaks. Contract, labels, metrics, manifests and scoring, on numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fiqa.contract import PreprocessSpec, load_picture
    from fiqa.detector import Detector
    from fiqa.labels import LabelSet, read_labels
    from fiqa.manifest import Manifest, read_manifest
    from fiqa.metrics import evaluate_scores
    from fiqa.runtime import Scorer

__version__ = "0.1.0.dev0"

_HOME = {
    "Detector": "fiqa.detector",
    "LabelSet": "fiqa.labels",
    "Manifest": "fiqa.manifest",
    "PreprocessSpec": "fiqa.contract",
    "Scorer": "fiqa.runtime",
    "evaluate_scores": "fiqa.metrics",
    "load_picture": "fiqa.contract",
    "read_labels": "fiqa.labels",
    "read_manifest": "fiqa.manifest",
}

__all__ = [
    "Detector",
    "LabelSet",
    "Manifest",
    "PreprocessSpec",
    "Scorer",
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
