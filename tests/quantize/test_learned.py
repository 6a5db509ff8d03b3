"""A graph that learns its integers: true to the simulation, and better for the learning."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")
pytest.importorskip("timm", reason="needs the extra `export`")

from quantize.integer_places import Range  # noqa: E402
from quantize.learned import LearnedIntegers, round_between  # noqa: E402
from quantize.recipes import Quantised, naive, quantise  # noqa: E402
from quantize.simulation import round_to, scores_of  # noqa: E402
from tests.doubles.planted import calm, pictures, plant_outliers  # noqa: E402


@pytest.fixture(scope="module")
def network():  # type: ignore[no-untyped-def]
    found = calm()
    plant_outliers(found, 20)
    return found


@pytest.fixture(scope="module")
def start(network) -> Quantised:  # type: ignore[no-untyped-def]
    return quantise(network.module, network.example, pictures(), naive())


def learn(learner: LearnedIntegers, wanted, steps: int) -> None:  # type: ignore[no-untyped-def]
    optimizer = torch.optim.Adam(learner.parameters(), 2e-3)
    for _ in range(steps):
        loss = (learner(pictures().float()) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_before_it_learns_it_scores_as_the_simulation_does(start: Quantised) -> None:
    learner = LearnedIntegers(start)
    with torch.no_grad():
        found = learner(pictures().float())
    assert torch.equal(found, start.walk.run(start.module, pictures().float()))


def test_learning_brings_back_what_naive_rounding_lost(network, start: Quantised) -> None:  # type: ignore[no-untyped-def]
    wanted = scores_of(network.module, pictures())
    learner = LearnedIntegers(start)
    before = float((scores_of(start.module, pictures(), start.walk) - wanted).abs().mean())
    learn(learner, wanted, 25)
    found = learner.quantised()
    after = scores_of(found.module, pictures(), found.walk)
    assert float((after - wanted).abs().mean()) < before / 2
    with torch.no_grad():
        assert torch.equal(after, torch.cat([learner(p.float()) for p in pictures().split(32)]))


def test_weights_and_both_ends_of_every_range_learn(network, start: Quantised) -> None:  # type: ignore[no-untyped-def]
    learner = LearnedIntegers(start)
    before = copy.deepcopy(learner.state_dict())
    learn(learner, scores_of(network.module, pictures()) + 0.1, 1)
    moved = {n for n, value in learner.state_dict().items() if not torch.equal(value, before[n])}
    assert "stretch" in moved
    assert {n for n in before if n.startswith("moves")} <= moved
    assert not any(name.startswith("graph") for name in moved)
    assert learner.quantised().recipe == start.recipe


@pytest.mark.parametrize("value_last", [False, True])
@pytest.mark.parametrize("gradient_last", [False, True])
def test_the_ends_learn_the_same_however_values_lie_in_memory(
    value_last: bool, gradient_last: bool
) -> None:
    def laid_out(tensor: torch.Tensor, last: bool) -> torch.Tensor:
        order = torch.channels_last if last else torch.contiguous_format
        return tensor.contiguous(memory_format=order)

    torch.manual_seed(0)
    value, gradient = torch.randn(2, 4, 3, 5, 6)
    ends = torch.tensor([-1.0, 2.0], dtype=torch.float64, requires_grad=True)
    held = laid_out(value, value_last).requires_grad_()
    round_between(held, ends).backward(laid_out(gradient, gradient_last))
    error = round_to(value, Range(-1.0, 2.0)) - value
    inside = (value > -1) & (value < 2)
    stretched = float((gradient * error * inside)[:1].sum()) / 3  # of one picture in four
    above, below = (float((gradient * part)[:1].sum()) for part in (value > 2, value < -1))
    assert ends.grad is not None
    assert ends.grad.tolist() == pytest.approx([below - stretched, above + stretched], abs=1e-4)
    assert held.grad is not None
    assert torch.equal(held.grad, gradient * inside)


def test_values_are_rounded_as_the_simulation_rounds_them() -> None:
    value = torch.linspace(-3, 5, 999)
    found = round_between(value, torch.tensor([-1.3, 2.7], dtype=torch.float64))
    assert torch.equal(found, round_to(value, Range(-1.3, 2.7)))


def test_an_end_follows_the_values_beyond_it_and_values_inside_get_their_gradient() -> None:
    value = torch.tensor([-2.0, 0.5, 1.0, 4.0, 6.0], requires_grad=True).reshape(-1, 1)
    value.retain_grad()
    ends = torch.tensor([-1.0, 3.0], dtype=torch.float64, requires_grad=True)
    round_between(value.repeat(1, 4), ends).sum().backward()
    assert value.grad is not None
    assert value.grad.flatten().tolist() == [0, 4, 4, 0, 0]
    assert ends.grad is not None
    low, high = ends.grad.tolist()  # of the first two pictures only: one in four, rounded up
    step = 4 / 255
    inside = float((round_to(torch.tensor(0.5), Range(-1, 3)) - 0.5) * 4 / 4)
    assert low == pytest.approx(4 - inside, abs=step / 4)
    assert high == pytest.approx(inside, abs=step / 4)
