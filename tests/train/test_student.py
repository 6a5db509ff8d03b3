"""The registry of students and the limits of what counts as light."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("timm", reason="needs the extra `train`")

from fiqa.errors import InputError  # noqa: E402
from train.student import (  # noqa: E402
    MAX_MULTIPLY_ADDS,
    MAX_PARAMETERS,
    STUDENTS,
    build_student,
)

# What timm publishes for each with ImageNet's 1000 classes, in millions.
PUBLISHED_MILLIONS = {
    "mobilenetv3_small_100": 2.54,
    "edgenext_xx_small": 1.33,
    "tf_efficientnet_lite0": 4.65,
    "mobilenetv4_conv_small_050": 2.24,
    "mobilenetv4_conv_small": 3.77,
    "lcnet_050": 1.88,
}


@pytest.mark.parametrize("name", STUDENTS)
def test_every_registered_student_builds_and_is_light_at_its_largest_size(name: str) -> None:
    student = STUDENTS[name]
    assert student.backbone == name
    assert student.note
    network, cost = build_student(name, max(student.sizes))
    assert (network.name, cost.size) == (name, max(student.sizes))
    with_classes = cost.parameters + 999 * (network.width + 1)
    assert with_classes / 1e6 == pytest.approx(
        PUBLISHED_MILLIONS[name.partition(".")[0]], abs=0.005
    )


def test_the_student_of_mspt_costs_what_is_published() -> None:
    network, cost = build_student("mobilenetv3_small_100", 224)
    assert cost.parameters == 1_518_881  # 1.5189 M in the challenge's table
    classes = 999 * network.width
    with_classes = (cost.multiply_adds + classes) / 1e6
    assert with_classes == pytest.approx(56, abs=1)  # "56 M MAdds", says the MobileNetV3 paper


def test_too_many_parameters_are_refused_with_the_flag_that_allows_them() -> None:
    with pytest.raises(InputError) as raised:
        build_student("resnet18", 32)
    assert "11.18 M parameters" in raised.value.found
    assert "5 M parameters and 0.5 G multiply-adds" in raised.value.expected
    assert "--allow-large" in raised.value.fix


def test_too_many_multiply_adds_are_refused_although_parameters_are_few() -> None:
    _, cost = build_student("mobilenetv3_small_100", 640)
    assert cost.parameters < MAX_PARAMETERS
    with pytest.raises(InputError, match="at 768 x 768"):
        build_student("mobilenetv3_small_100", 768)


def test_a_large_student_is_built_when_told_so() -> None:
    network, cost = build_student("resnet18", 32, allow_large=True)
    assert network.name == "resnet18"
    assert cost.parameters > MAX_PARAMETERS


def test_any_other_timm_model_may_be_a_student() -> None:
    _, cost = build_student("tinynet_e", 96)
    assert cost.multiply_adds <= MAX_MULTIPLY_ADDS
