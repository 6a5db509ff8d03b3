"""The executor of Core ML programs: the scores of torch, and damage that must be told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiqa.errors import ArtifactError, InputError
from quantize.convert_coreml import save_model, to_mlpackage, to_model
from quantize.coremltools_loader import load_coremltools
from quantize.mil_arguments import Arguments
from quantize.mil_executor import MilProgram
from quantize.mil_operations import OPERATIONS
from quantize.mil_program import program_facts, stored_tensor, unpack_bits
from tests.doubles.lively_networks import pictures

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

SIZE = 32
FACES = pictures(4, SIZE)


class Network(nn.Module):
    """NHWC r = byte - 128 to scores; layers are made by the subclasses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.head = nn.Linear(16, 1)

    def forward(self, r: Tensor) -> Tensor:
        return self.head(self.middle(self.stem(r.permute(0, 3, 1, 2) / 128)).mean((2, 3)))

    def middle(self, x: Tensor) -> Tensor:
        return x


class Pools(Network):
    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.norm = nn.BatchNorm2d(16)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.running_mean)

    def middle(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.norm(F.avg_pool2d(F.relu(x), 2, 1))  # behind a pool it does not fold
        x = F.leaky_relu(self.deep(F.pad(x, (2, 1, 0, 3), mode="reflect")), 0.1)
        return F.pad(x, (1, 2, 3, 4), value=0.5) * x.amax((2, 3), keepdim=True)


class Attention(Network):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(16), nn.Linear(16, 48)
        nn.init.normal_(self.norm.weight)

    def middle(self, x: Tensor) -> Tensor:
        tokens = self.norm(F.max_pool2d(x, 2, 2).flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-2).transpose(1, 2) * 4).softmax(-1)
        y = F.gelu(weights @ v) + F.gelu(v, approximate="tanh")
        return y.transpose(1, 2).reshape(x.shape[0], 16, 8, 8)


class Shapes(Network):
    def middle(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, [6, 10], dim=1)
        c = torch.cat([b[:, ::2, 1:-1:2], a[:, 1:2, :7].repeat(1, 3, 1, 1)], dim=1)
        lines = c[:, :, 3].unsqueeze(2) - c[:, :, -1:].square()
        wide = torch.cat([lines, torch.stack([lines[:, :, 0], lines[:, :, 0].exp()], 2)], 2)
        return torch.cat([wide, wide.abs().sqrt()], dim=1)


class Activations(Network):
    def middle(self, x: Tensor) -> Tensor:
        parts = x.chunk(8, dim=1)
        hard = [F.hardswish(parts[0] * 5), F.hardsigmoid(parts[1] * 5), F.relu6(parts[2] * 9)]
        soft = [F.silu(parts[3]), parts[4].tanh(), parts[5].sigmoid().pow(1.5), parts[6].erf()]
        mixed = torch.minimum(parts[7], parts[6]) / torch.maximum(parts[0].exp(), parts[5] + 9)
        spread = torch.rsqrt(x.square().sum(1, keepdim=True) + 1)
        return torch.cat([*hard, *soft, mixed.clamp(-0.3, 0.2)], dim=1) * spread


NETWORKS = (Pools, Attention, Shapes, Activations)


def torch_scores(module: nn.Module, faces: np.ndarray = FACES) -> np.ndarray:
    with torch.no_grad():
        scores = [module(torch.from_numpy(one[None].astype(np.float32)) - 128) for one in faces]
    return torch.cat(scores).double().reshape(-1).numpy()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coreml") / "plain.mlpackage"
    to_mlpackage(Network().eval(), SIZE, path)
    return path


@pytest.mark.parametrize("kind", NETWORKS)
def test_scores_are_those_of_torch(kind: type[Network], tmp_path: Path) -> None:
    module = kind().eval()
    to_mlpackage(module, SIZE, tmp_path / "m.mlpackage")
    want = torch_scores(module)
    got = MilProgram.load(tmp_path / "m.mlpackage").run(FACES)
    np.testing.assert_allclose(got, want, atol=2e-6)
    assert want.std() > 0.01


def test_half_precision_program_scores_as_torch_with_rounded_weights(tmp_path: Path) -> None:
    module = Attention().eval()
    plain = torch_scores(module)
    to_mlpackage(module, SIZE, tmp_path / "m.mlpackage", precision="fp16")
    got = MilProgram.load(tmp_path / "m.mlpackage").run(FACES)
    assert 1e-6 < np.abs(got - plain).mean() < 2e-3
    np.testing.assert_allclose(got, torch_scores(module.half().float()), atol=1e-4)


def test_pictures_are_scored_one_by_one_in_order(package: Path) -> None:
    program = MilProgram.load(package)
    together = program.run(FACES)
    assert together.tolist() == [float(program.run(one[None])[0]) for one in FACES]
    assert len(program.run(FACES[:0])) == 0


def test_one_changed_weight_changes_the_score(package: Path, tmp_path: Path) -> None:
    before = MilProgram.load(package).run(FACES)
    blob, data = copied_weights(package, tmp_path)
    at = data.index(Network().stem.weight.detach().numpy()[0, 0, 0, :1].tobytes())
    data[at + 2] ^= 0x20  # a high bit of one weight's mantissa
    blob.write_bytes(data)
    after = MilProgram.load(tmp_path / "m.mlpackage").run(FACES)
    assert (np.abs(after - before) > 1e-5).all()


def copied_weights(package: Path, folder: Path) -> tuple[Path, bytearray]:
    shutil.copytree(package, folder / "m.mlpackage")
    blob = folder / "m.mlpackage" / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    return blob, bytearray(blob.read_bytes())


@pytest.mark.parametrize("damage", ["cut", "missing", "header", "model"])
def test_damaged_packages_are_refused(damage: str, package: Path, tmp_path: Path) -> None:
    blob, data = copied_weights(package, tmp_path)
    if damage == "missing":
        blob.unlink()
    elif damage == "model":
        model = blob.parent.parent / "model.mlmodel"
        model.write_bytes(model.read_bytes()[:-5])
    else:
        blob.write_bytes(data[:200] if damage == "cut" else b"\0" * len(data))
    with pytest.raises(ArtifactError, match="cannot be run"):
        MilProgram.load(tmp_path / "m.mlpackage")


@pytest.mark.parametrize(
    "faces", [FACES.astype(np.float32), FACES[:, :16], FACES[0], FACES.transpose(0, 3, 1, 2)]
)
def test_other_than_byte_pictures_of_its_size_are_refused(faces: np.ndarray, package: Path) -> None:
    with pytest.raises(InputError, match=r"\(count, 32, 32, 3\)"):
        MilProgram.load(package).run(faces)


def test_unknown_operation_is_named(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(OPERATIONS, "conv")
    with pytest.raises(ArtifactError, match="operation conv .* is unknown"):
        MilProgram.load(package)


def test_what_an_operation_does_not_cover_is_told(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(arguments: Arguments) -> Tensor:
        raise NotImplementedError("pad_type 'same'")

    monkeypatch.setitem(OPERATIONS, "conv", refuse)
    with pytest.raises(ArtifactError, match="conv .*pad_type 'same'"):
        MilProgram.load(package).run(FACES)


@pytest.mark.parametrize(
    ("compress", "kind"),
    [
        ("linear_quantize_weights", "constexpr_affine_dequantize"),
        ("palettize_weights", "constexpr_lut_to_dense"),
    ],
)
def test_compressed_weights_score_as_coremltools_decompresses_them(
    compress: str, kind: str, tmp_path: Path
) -> None:
    tools = load_coremltools("coremltools.optimize.coreml")
    options: Any = {
        "linear_quantize_weights": tools.OpLinearQuantizerConfig(weight_threshold=0),
        "palettize_weights": tools.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0),
    }[compress]
    model = to_model(Network().eval(), SIZE)
    small = getattr(tools, compress)(model, tools.OptimizationConfig(global_config=options))
    save_model(small, tmp_path / "small.mlpackage")
    save_model(tools.decompress_weights(small), tmp_path / "large.mlpackage")
    assert program_facts(tmp_path / "small.mlpackage").operations[kind] == 2
    got = MilProgram.load(tmp_path / "small.mlpackage").run(FACES)
    want = MilProgram.load(tmp_path / "large.mlpackage").run(FACES)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert np.abs(got - torch_scores(Network().eval())).max() > 1e-4


class Rounded(Network):
    """Activations in 8 bits, by the operations that torch's own quantisers write."""

    def middle(self, x: Tensor) -> Tensor:
        import torch.ao.quantization.fx._decomposed  # declares the operations

        steps = torch.ops.quantized_decomposed
        for scale, zero_point in ((0.02, -100), (0.05, -128)):
            numbers = scale, zero_point, -128, 127, torch.int8
            q = steps.quantize_per_tensor.default(x, *numbers)
            x = F.relu(steps.dequantize_per_tensor.default(q, *numbers))
        return x


def test_integer_activations_score_as_torch_rounds_them(tmp_path: Path) -> None:
    module = Rounded().eval()
    to_mlpackage(module, SIZE, tmp_path / "m.mlpackage")
    facts = program_facts(tmp_path / "m.mlpackage")
    assert facts.operations["quantize"] == facts.operations["dequantize"] == 2
    assert facts.results["int8"] + facts.results.get("uint8", 0) == 2
    got = MilProgram.load(tmp_path / "m.mlpackage").run(FACES)
    np.testing.assert_allclose(got, torch_scores(module), atol=1e-6)
    assert np.abs(got - torch_scores(Network().eval())).max() > 1e-4


def run_operation(kind: str, **arguments: Any) -> np.ndarray:
    values: dict[str, Any] = {
        key: [value if isinstance(value, str) else torch.as_tensor(value)]
        for key, value in arguments.items()
    }
    result = OPERATIONS[kind](Arguments(values))
    assert isinstance(result, Tensor)
    return result.numpy()


def test_blockwise_weights_are_those_of_coremltools() -> None:
    defs = load_coremltools("coremltools.converters.mil.mil.ops.defs.iOS18.compression")
    rng = np.random.default_rng(0)
    data = rng.integers(-8, 8, (4, 6, 2))
    scale = rng.uniform(0.1, 1, (2, 3, 1)).astype(np.float32)
    offset = rng.integers(-3, 3, (2, 3, 1))
    want = defs.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    got = run_operation("constexpr_blockwise_shift_scale", data=data, scale=scale, offset=offset)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(("vector", "axis"), [(1, None), (3, 0), (3, 1)])
def test_tables_of_weights_are_those_of_coremltools(vector: int, axis: int | None) -> None:
    defs = load_coremltools("coremltools.converters.mil.mil.ops.defs.iOS18.compression")
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 4, (4, 6)).astype(np.uint8)
    lut = rng.normal(size=(2, 3, 4, vector)).astype(np.float32)
    want = defs.constexpr_lut_to_dense.decompress(indices, lut, axis)
    extra = {} if axis is None else {"vector_axis": axis}
    got = run_operation(
        "constexpr_lut_to_dense", indices=indices.astype(np.int64), lut=lut, **extra
    )
    np.testing.assert_array_equal(got, want)


def test_quantize_rounds_to_even_clips_and_comes_back() -> None:
    x = np.array([[-9.0, 0.25, 0.75, 9.0], [-1.0, 1.0, 30.0, 1000.0]], np.float32)
    scale, zero = np.array([0.5, 10.0], np.float32), np.array([0, 5])
    q = run_operation(
        "quantize", input=x, scale=scale, zero_point=zero, axis=0, output_dtype="int8"
    )
    assert q.tolist() == [[-18, 0, 2, 18], [5, 5, 8, 105]]
    back = run_operation("dequantize", input=q, scale=scale, zero_point=zero, axis=0)
    assert back.tolist() == [[-9, 0, 1, 9], [0, 0, 30, 1000]]
    high = run_operation("quantize", input=x, scale=np.float32(1), output_dtype="uint8")
    assert high.tolist() == [[0, 0, 1, 9], [0, 1, 30, 255]]


def test_bits_are_unpacked_from_the_least_significant_on() -> None:
    packed = np.array([0b01_10_11_00, 0b11], np.uint8)
    assert unpack_bits(packed, 2, 5).tolist() == [0, 3, 2, 1, 3]
    assert unpack_bits(np.array([0b10_000001, 0b0000_1111], np.uint8), 6, 2).tolist() == [1, 62]


def test_stored_numbers_keep_their_signs_and_must_fill_their_shape() -> None:
    pytest.importorskip("ml_dtypes", reason="makes numpy know bfloat16")
    assert stored_tensor(b"\x8f\x07", "int4", [3]).tolist() == [-1, -8, 7]
    assert stored_tensor(b"\x8f\x07", "uint4", [3, 1]).tolist() == [[15], [8], [7]]
    assert stored_tensor(b"\xff\x80", "int8", [2]).tolist() == [-1, -128]
    assert stored_tensor(np.float16(0.1).tobytes(), "float16", []).item() == np.float16(0.1)
    for data, dtype in ((b"\0\0", "int4"), (b"\0\0\0", "float16"), (b"\0\0", "bfloat16")):
        with pytest.raises((TypeError, ValueError)):
            stored_tensor(data, dtype, [1])


def test_facts_tell_operations_results_and_weights(package: Path) -> None:
    facts = program_facts(package)
    assert facts.operations["conv"] == 1
    assert "const" not in facts.operations
    assert set(facts.results) == {"float32"}
    assert facts.weight_bytes["float32"] >= 4 * (16 * 27)
