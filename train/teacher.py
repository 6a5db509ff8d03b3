"""Teachers: large networks that learn from labels and then label what nobody has labelled."""

from __future__ import annotations

from dataclasses import dataclass

from train.loop import Fitting
from train.stages import LABELS, Distillation, Guards, Stage


@dataclass(frozen=True)
class TeacherRecipe:
    """A backbone and how it is trained: everything at one size after the other."""

    backbone: str
    steps: dict[int, Fitting]  # pixels: how long and how fast
    note: str
    rank: float = 0.0

    @property
    def size(self) -> int:
        """The size it judges at, that of the last step."""
        return list(self.steps)[-1]

    def stages(self, sources: list[str]) -> list[Stage]:
        return [
            Stage(
                f"teacher@{size}",
                size,
                dict.fromkeys(sources or [LABELS], 1.0),
                fitting,
                guards=Guards(0, 0),
                distillation=Distillation(0, 0),
                rank=self.rank,
            )
            for size, fitting in self.steps.items()
        ]


TEACHERS = {
    "efficient_fiqa_teacher": TeacherRecipe(
        "swin_base_patch4_window7_224",
        {448: Fitting(30, 1e-4, 32, weight_decay=1e-6, schedule="steps", ema_decay=0.0)},
        "Efficient-FIQA's published settings: Swin-B at 448, AdamW 1e-4, weight decay 1e-6, "
        "30 epochs, a tenth of the rate every ten. For a GPU.",
    ),
    "small": TeacherRecipe(
        "tf_efficientnet_lite2",
        {160: Fitting(2, 8e-4)},
        "Ours, for CPUs: EfficientNet-Lite2 at 160, for --init pypi (ImageNet).",
    ),
    "small_224": TeacherRecipe(
        "tf_efficientnet_lite2",
        {160: Fitting(2, 8e-4), 224: Fitting(1, 3e-4)},
        "The same and then 224: better on kinds of degradation it trained on, worse on others.",
    ),
    "demo": TeacherRecipe(
        "tf_efficientnet_lite0",
        {96: Fitting(2, 1e-3)},
        "Ours, for the demo: EfficientNet-Lite0 at 96, a minute on a CPU (--init pypi).",
    ),
}
