"""Load timm, also where torchvision was built for CUDA and torch for CPUs alone.

The package index has torchvision's CUDA build only. Beside a CPU build of torch its compiled
operators cannot load, and `import torchvision`, which timm needs, dies at the first operator it
wants to describe. We use none of these operators: declaring them is enough.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType
from typing import Any

from fiqa.errors import MissingDependencyError

# torchvision asks for these two without looking whether its compiled operators are there.
_UNGUARDED_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_declared: list[Any] = []  # torch forgets a declaration when its Library object dies


def load_timm() -> ModuleType:
    """The timm module. A matching pair of torch and torchvision is left as it is."""
    try:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::nms does not exist" not in str(error):
                raise
            _import_torchvision_without_operators()
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the Python module {error.name!r} is not installed",
            expected="torch, torchvision and timm, as training and export use them",
            fix="pip install 'fiqa-edge[train]'",
        ) from error


def _import_torchvision_without_operators() -> None:
    torch = importlib.import_module("torch")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _UNGUARDED_OPERATORS:
        library.define(schema)
    _declared.append(library)
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]  # halves of the import that failed
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        importlib.import_module("torchvision")
