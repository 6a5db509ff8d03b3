"""Conversion to Core ML: what the package declares, how lean its graph is, what is refused."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fiqa
from fiqa.contract import PreprocessSpec
from fiqa.errors import ArtifactError, InputError, MissingDependencyError
from fiqa.manifest import Manifest, read_manifest, write_artifact
from quantize.convert_coreml import set_licence, tensors, to_mlpackage
from quantize.coremltools_loader import load_coremltools
from quantize.deployable import make_deployable
from quantize.mil_executor import MilProgram
from quantize.mil_program import program_facts
from tests.doubles.lively_networks import extremes, make_lively, pictures
from train.network import QualityNet

pytestmark = [  # of coremltools' own temporary folders, and of torch copying its own graphs
    pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]

SIZE = 32
# name, size, bound on what fp16 weights may move the score by on average. Untrained networks
# magnify their rounding: two of them by 3e-3 and 5e-3, and in torch alone by just as much.
STUDENTS = [
    ("mobilenetv3_small_100", 160, 2e-3),
    ("edgenext_xx_small", 256, 2e-3),
    ("tf_efficientnet_lite0", 160, 1e-2),
    ("mobilenetv4_conv_small_050", 160, 1e-2),
    ("lcnet_050", 160, 2e-3),
]


def deployed(name: str, size: int) -> tuple[QualityNet, nn.Module]:
    network = make_lively(QualityNet(name, size), size)
    return network, make_deployable(network, PreprocessSpec(size=size)).module


def scores_of(module: nn.Module, faces: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        scores = [module(torch.from_numpy(one[None].astype(np.float32)) - 128) for one in faces]
    return torch.cat(scores).double().reshape(-1).numpy()


def round_weights(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.copy_(tensor.half())
    return module


@pytest.fixture(scope="module")
def student() -> nn.Module:
    return deployed("mobilenetv4_conv_small_035", SIZE)[1]


@pytest.fixture(scope="module")
def half(student: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student's package in fp16."""
    path = tmp_path_factory.mktemp("coreml") / "student.mlpackage"
    to_mlpackage(student, SIZE, path, precision="fp16")
    return path


def description(package: Path) -> Any:
    models = load_coremltools("coremltools.models")
    return models.MLModel(str(package), skip_model_load=True).get_spec()


def test_package_takes_a_picture_and_gives_one_float32_score(half: Path) -> None:
    spec = description(half)
    (picture,), (score,) = spec.description.input, spec.description.output
    assert (picture.name, score.name) == ("image", "score")
    image = picture.type.imageType
    assert (image.width, image.height) == (SIZE, SIZE)
    assert image.colorSpace == image.ColorSpace.Value("RGB")
    numbers = score.type.multiArrayType
    assert list(numbers.shape) == [1, 1]
    assert numbers.dataType == numbers.ArrayDataType.Value("FLOAT32")
    assert spec.specificationVersion == 8  # iOS 17, macOS 14
    assert [tensor.name for tensor in tensors(SIZE)] == ["image", "score"]


def test_metadata_names_licence_and_version_but_no_clock(half: Path) -> None:
    assert description(half).description.metadata.license == ""
    for licence in ("CC-BY-4.0", "not stated"):
        set_licence(half, licence)
        metadata = description(half).description.metadata
        assert metadata.license == licence
    assert metadata.versionString == fiqa.__version__
    assert "quality" in metadata.shortDescription
    assert metadata.author == ""
    assert not [key for key in metadata.userDefined if "date" in key]
    assert sorted(path.name for path in half.iterdir()) == ["Data", "Manifest.json"]


def test_convolution_graph_has_no_transpose_and_nothing_left_to_fold(half: Path) -> None:
    facts = program_facts(half)
    assert not {"transpose", "batch_norm", "sub", "real_div"} & set(facts.operations)
    assert facts.results["float32"] == 2  # the picture widened, and the score
    assert set(facts.weight_bytes) == {"float16"}


def test_half_precision_scores_are_those_of_rounded_weights(student: nn.Module, half: Path) -> None:
    faces = pictures(6, SIZE)
    got = MilProgram.load(half).run(faces)
    want = scores_of(round_weights(copy.deepcopy(student)), faces)
    np.testing.assert_allclose(got, want, atol=2e-5)
    assert want.std() > 0.05


def test_manifest_in_a_real_package_is_seen_by_coremltools(half: Path, tmp_path: Path) -> None:
    manifest = Manifest("coreml", "tiny", "", PreprocessSpec(size=SIZE), inputs=tensors(SIZE)[:1])
    written = write_artifact(tmp_path / "m.mlpackage", half, manifest)
    assert read_manifest(tmp_path / "m.mlpackage") == written
    entries = description(tmp_path / "m.mlpackage").description.metadata.userDefined
    assert Manifest.from_json(entries["fiqa_manifest"], "x") == written
    faces = pictures(2, SIZE)
    before, after = (MilProgram.load(path).run(faces) for path in (half, tmp_path / "m.mlpackage"))
    assert before.tolist() == after.tolist()


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, r: Tensor) -> Tensor:
        return self.head(r.mean((1, 2)))


def test_same_module_gives_the_same_hash(tmp_path: Path) -> None:
    module = Plain()
    manifest = Manifest("coreml", "tiny", "", PreprocessSpec(size=SIZE))
    hashes = set()
    for name in ("a.mlpackage", "b.mlpackage"):
        to_mlpackage(module, SIZE, tmp_path / name)
        hashes.add(write_artifact(tmp_path / name, tmp_path / name, manifest).sha256)
    assert len(hashes) == 1


def test_conversion_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    to_mlpackage(Plain(), SIZE, tmp_path / "m.mlpackage")
    assert capfd.readouterr() == ("", "")


def test_scores_in_one_dimension_are_taken_too(tmp_path: Path) -> None:
    class Flat(Plain):
        def forward(self, r: Tensor) -> Tensor:
            return super().forward(r).squeeze(1)

    to_mlpackage(Flat(), SIZE, tmp_path / "m.mlpackage")
    assert MilProgram.load(tmp_path / "m.mlpackage").run(pictures(2, SIZE)).shape == (2,)


def test_more_pictures_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch 1"):
        to_mlpackage(Plain(), SIZE, tmp_path / "m.mlpackage", batch=4)


def test_operation_that_core_ml_lacks_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    class Foreign(Plain):
        def forward(self, r: Tensor) -> Tensor:
            return super().forward(torch.special.i0(r))

    with pytest.raises(ArtifactError, match="special_i0"):
        to_mlpackage(Foreign(), SIZE, tmp_path / "m.mlpackage")
    assert list(tmp_path.iterdir()) == []


def test_operation_that_the_converter_stumbles_over_is_named(tmp_path: Path) -> None:
    class Stumbling(Plain):
        def forward(self, r: Tensor) -> Tensor:  # coremltools asks for a written stride
            pooled = nn.functional.max_pool2d(r.permute(0, 3, 1, 2), 2)
            return super().forward(pooled.permute(0, 2, 3, 1))

    with pytest.raises(ArtifactError, match="at operation 'max_pool2d'"):
        to_mlpackage(Stumbling(), SIZE, tmp_path / "m.mlpackage")


def test_without_coremltools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(MissingDependencyError, match=r"fiqa-edge\[export\]"):
        load_coremltools()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size", "rounding"), STUDENTS)
def test_every_student_is_proved_in_both_precisions(
    name: str, size: int, rounding: float, tmp_path: Path
) -> None:
    network, module = deployed(name, size)
    faces = np.concatenate([pictures(6, size), extremes(size)])
    to_mlpackage(module, size, tmp_path / "32.mlpackage")
    to_mlpackage(module, size, tmp_path / "16.mlpackage", precision="fp16")
    x = torch.from_numpy(faces.astype(np.float64)).permute(0, 3, 1, 2) / 128 - 1
    with torch.no_grad():
        want = network.double()(x).numpy()  # else both sides' rounding would add up
    assert want.std() > 0.1
    np.testing.assert_allclose(
        MilProgram.load(tmp_path / "32.mlpackage").run(faces), want, atol=1e-5
    )
    got = MilProgram.load(tmp_path / "16.mlpackage").run(faces)
    assert np.abs(got - want).mean() < rounding
    np.testing.assert_allclose(got, scores_of(round_weights(module), faces), atol=1e-5)
    if name != "edgenext_xx_small":
        assert "transpose" not in program_facts(tmp_path / "32.mlpackage").operations
