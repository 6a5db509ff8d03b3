"""What a run leaves behind to go on with: its state, records, journal and answers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from fiqa.files import write_json
from fiqa.manifest import DataRecord
from fiqa.records import to_plain
from tests.doubles.tiny_sets import TINY
from tests.hard_inputs import damage, fields
from tests.hard_inputs.reader import Reader, rewrite, write
from tests.hard_inputs.torch_readers import SIZE, network
from train.predict import Prediction, read_prediction, write_prediction
from train.run_state import STATE, RunState, load_state, save_state


def make_run_state(folder: Path) -> list[Path]:
    state, optimizer = RunState(task=1, step=5, best_metrics={"score": 0.5}), _optimizer()
    loss = network()(torch.zeros(2, 3, SIZE, SIZE)).sum()
    loss.backward()
    optimizer.step()
    state.keep(network(), optimizer)
    state.update_average(network(), 0.9)
    save_state(folder, state)
    return [folder / STATE]


def _optimizer() -> torch.optim.Optimizer:
    return torch.optim.AdamW(network().parameters(), lr=1e-6)


def read_run_state(path: Path) -> object:
    state = load_state(path.parent)
    state.check_fit(network())
    state.restore(network(), _optimizer())
    with state.averaged(network()):
        return state.step + 1


def make_run_folder(folder: Path) -> list[Path]:
    """What steps leave behind for a later run, JSON and answers of a teacher."""
    from train.training_run import RUN, claim_folder

    claim_folder(folder / "run", {"model": TINY, "data": [1, {"a": 2}]}, False)
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    write_prediction(folder / "answers.npz", Prediction(np.ones(9, np.float32), np.ones((9, 4))))
    for name, record in _records().items():
        write_json(folder / name, to_plain(record))
    write_json(folder / "scores.json", {"scores": {"val": [0.1, 0.2]}, "cpu_s": 1.5})
    names = (*_records(), "scores.json", f"run/{RUN}", "run/metrics.jsonl", "answers.npz")
    return [folder / name for name in names]


def _records() -> dict[str, Any]:
    from train.any_model import ModelFacts
    from train.evaluation import Evaluation

    facts = ModelFacts("tiny", "tflite", "1" * 64, "litert")
    return {
        "evaluation.json": Evaluation(facts, DataRecord("d", "2" * 64, "test", 5), ()),
        "mapping.json": _mapping(),
    }


def _mapping() -> Any:
    from fiqa.logistic import fit_logistic
    from fiqa.metrics import evaluate_scores
    from train.pseudo_label import Mapping

    raw = np.linspace(0, 1, 20) ** 2
    labels = np.linspace(0, 1, 20)
    return Mapping(fit_logistic(raw, labels), evaluate_scores(raw, labels))


def change_run_folder(path: Path, rng: Random) -> None:
    if path.suffix == ".npz":
        _change_npz(path, rng)
    elif path.suffix == ".json":
        write(path, damage.json_changed(path.read_bytes(), rng))
    else:
        write(path, damage.damaged(path.read_bytes(), rng))


def _change_npz(path: Path, rng: Random) -> None:
    """One array of another shape, type or header."""
    arrays: dict[str, Any] = dict(np.load(path))
    name = rng.choice(sorted(arrays))
    way = rng.randrange(3)
    if way == 0:
        arrays[rng.choice(("", "x", "\ud800"[:0] + "y"))] = arrays.pop(name)
    elif way == 1:
        arrays[name] = rng.choice(
            (np.array(1.0), np.ones(0), np.ones((9, 4, 2)), np.array(["a"] * 9), np.full(9, np.nan),
             np.ones(9, bool), np.ones(9, complex), np.array([None] * 9))
        )  # fmt: skip
    np.savez(path, **arrays)
    if way == 2:
        shape = rng.choice(
            ("10000000000000,", "-1,", "1.5,", "9, 4, 9999999999", "'a',", "(9)" * 99)
        )
        descr = rng.choice(("'<f4'", "'|O'", "'<f99'", "[('a', '<f4')]", "None"))
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': ({shape}), }}\n"
        head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("scores.npy", head + bytes(36))
            archive.writestr("features.npy", head + bytes(144))


def read_run_folder(path: Path) -> object:
    from train.ablation import read_scores
    from train.evaluation import read_evaluation
    from train.journal import Journal
    from train.pseudo_label import _read_mapping
    from train.training_run import claim_folder

    if path.parent.name == "run":
        claim_folder(path.parent, {"model": TINY, "data": [1, {"a": 2}]}, False)
        journal = Journal(path.parent, 1, 0)
        journal.close()
        return journal.lines
    readers = {
        "evaluation.json": read_evaluation, "mapping.json": _read_mapping,
        "scores.json": lambda path: read_scores(path, {"val": 2}),
        "answers.npz": lambda path: read_prediction(path, 9),
    }  # fmt: skip
    return readers[path.name](path)


READERS = {
    "run_state": Reader(make_run_state, rewrite(fields.safetensors_changed), read_run_state),
    "run_folder": Reader(make_run_folder, change_run_folder, read_run_folder),
}
