"""Accuracy drop and latency of your models, on your pictures, on the device itself.

    python -m edge_bench.run --artifact float.tflite int8.tflite --data val.csv \\
        --target adb --out bench.json
    python -m edge_bench.run --artifact float.tflite int8.tflite --data val.csv \\
        --target ssh:pi@board --threads 1 4 --cores big little --out board.json
    python -m edge_bench.run --artifact int8.tflite --data val.csv --target emulated \\
        --limit 256 --out cores.json

The first artifact is what the others are held against. Each is scored on every picture, then
timed in alternating blocks. On a device a model gets 1024 runs and 60 s; locally, or with
--quick, 200 runs. `emulated` gives exact scores and instructions an inference on ARM cores
(cortex-a53, cortex-a72, cortex-a76, i8mm), and never a latency.

The file is written after each block; --resume goes on where a cable was pulled. Exit 1: a verdict
is "fail", or the device's scores are not this machine's.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import signal
import uuid
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from types import FrameType

from edge_bench import describe
from edge_bench.errors import DeviceError, ResumeError
from edge_bench.inputs import Chosen, Model, choose_pictures, read_models
from edge_bench.plan import CANARY, Plan, Setup, full_plan, quick_plan
from edge_bench.result import BenchResult, RunnerRecord, read_result, write_result
from edge_bench.runner.choose import APP, AUTO, RUNNERS, choose_runner
from edge_bench.runner.request import Runner
from edge_bench.session import Session
from edge_bench.summary import summarise_result
from edge_bench.targets.adb import adb_version
from edge_bench.targets.base import Target
from edge_bench.targets.choose import FORMS, choose_target, source_of
from edge_bench.targets.emulated import CORES, check_core
from edge_bench.targets.facts import DeviceFacts, cpus_of
from fiqa import cli
from fiqa.errors import InputError
from fiqa.files import refuse_existing, require_writable
from fiqa.labels import evenly, read_labels
from fiqa.manifest import tool_versions
from fiqa.score import read_spec
from quantize.guard import GuardPolicy

logger = logging.getLogger(__name__)

EMULATED_LIMIT = 16  # an emulated core takes up to half a second a picture
CORE_LIST = re.compile(r"big|little|all|any|\d+(-\d+)?(,\d+(-\d+)?)*")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("--artifact", type=Path, nargs="+", required=True, help=".tflite files, the float first")
    add("--data", type=Path, required=True, help="label set, or pictures without scores")
    add("--target", required=True, help=FORMS)
    add("--out", type=Path, required=True, help="JSON to write after each step")
    add("--root", type=Path, help="the folder that picture names refer to")
    add("--split", nargs="+", help="splits to score (default: val and val_ood, or all but train)")
    add("--limit", type=int, help="use so many pictures, spread evenly")
    add("--threads", type=int, nargs="+", default=[1], help="(default: 1; emulated: only 1)")
    add("--cores", nargs="+", help="big, little, all, any or 0-3,6 (default: big; local: any)")
    add("--delegate", nargs="+", choices=("xnnpack", "none"), default=["xnnpack"])
    add("--quick", action="store_true", help="200 runs a model instead of 1024 and 60 s")
    add("--runs", type=int, help="least runs a model; 0 measures accuracy only")
    add("--blocks", type=int, help="blocks a model")
    add("--max-drop", type=float, default=GuardPolicy().max_drop, help="budget (%(default)s)")
    add("--runner", default=AUTO, help=f"{RUNNERS} (%(default)s)")
    add("--lib", type=Path, help="LiteRT or TFLite library for the device (default: the runner's)")
    add("--apk", type=Path, help="the Android app to use (default: the one that came along)")
    add("--preprocess", type=Path, help="JSON of a foreign artifact's contract")
    add("--resume", action="store_true", help="go on with --out where it stopped")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    return cli.run(parser, _run, argv)


def _run(args: Namespace) -> cli.Outcome:
    GuardPolicy(args.max_drop)  # refuses nonsense before any work
    check_setups(args)
    earlier = _earlier(args)
    run_id = earlier.id if earlier else uuid.uuid4().hex[:12]
    models = read_models(args.artifact, read_spec(args.preprocess) if args.preprocess else None)
    target = choose_target(args.target, run_id)
    limit = EMULATED_LIMIT if args.limit is None and target.kind == "emulated" else args.limit
    labels = read_labels(args.data, root=args.root, scored=False)
    chosen = choose_pictures(labels, args.split, limit)
    with interruptible():
        target.open()
        try:
            result = _measure(args, target, models, chosen, earlier)
        except (DeviceError, KeyboardInterrupt):
            if args.out.exists():
                logger.warning("what was measured is in %s; --resume goes on", args.out)
            raise
        finally:
            target.clean_up()
    text = [*describe.lines(result), "", f"wrote {args.out}"]
    document = describe.document(result) | {"out": str(args.out)}
    return cli.Outcome("\n".join(text), document, summarise_result(result).ok)


def _measure(
    args: Namespace,
    target: Target,
    models: Sequence[Model],
    chosen: Chosen,
    earlier: BenchResult | None,
) -> BenchResult:
    facts = target.facts()
    runner = choose_runner(args.runner, args.lib, args.apk, target, facts)
    fresh = _begin(args, target, models, chosen, facts, runner)
    result = resumed(earlier, fresh) if earlier else fresh
    session = Session(target, runner, models, chosen, lambda now: write_result(args.out, now))
    return session.run(result)


def _begin(
    args: Namespace,
    target: Target,
    models: Sequence[Model],
    chosen: Chosen,
    facts: DeviceFacts,
    runner: Runner,
) -> BenchResult:
    tools = tool_versions("ai-edge-litert", "ziglang")
    if target.kind == "adb":
        tools["adb"] = adb_version()
    # An emulated core is to give this machine's scores for every picture, not for a sample.
    count = len(chosen.rows)
    canary = evenly(count, count if target.kind == "emulated" else CANARY)
    return BenchResult(
        schema=1,
        id=Path(target.folder).name.removeprefix("fiqa-bench-"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=source_of(target, facts.emulator),
        target=target.name,
        complete=False,
        tools=tools,
        plan=make_plan(args, target.kind, facts),
        device=facts,
        runner=runner.record,
        models=tuple(model.record for model in models),
        pictures=chosen.record(),
        max_drop=args.max_drop,
        canary=tuple(canary),
    )


def check_setups(args: Namespace) -> None:
    """What can be refused before any work."""
    emulated = args.target == "emulated"
    if emulated and max(args.threads) > 1:
        raise InputError(
            f"--threads {max(args.threads)} with --target emulated",
            expected="1: with several, instructions are no longer exact",
            fix="leave --threads out",
        )
    for cores in args.cores or ():
        if emulated:
            check_core(cores)
        elif not CORE_LIST.fullmatch(cores):
            raise InputError(f"--cores {cores}", expected="big, little, all, any, or 0-3,6")


def make_plan(args: Namespace, kind: str, facts: DeviceFacts) -> Plan:
    """Threads x cores x delegates, as many runs as the target deserves."""
    default = {"local": ["any"], "emulated": list(CORES)}.get(kind, ["big"])
    if args.runner == APP:
        default = ["any"]
        if set(args.cores or default) != {"any"}:
            raise InputError(
                f"--cores {' '.join(args.cores)} with --runner app",
                expected="any: where an app runs is Android's choice",
                fix="leave --cores out, or --runner",
            )
    setups = [
        Setup(threads, cores, () if kind == "emulated" else cpus_of(cores, facts), delegate)
        for threads, cores, delegate in product(args.threads, args.cores or default, args.delegate)
    ]
    for setup in setups:
        if not setup.cpus and setup.cores != "any" and kind != "emulated":
            raise InputError(
                f"--cores {setup.cores} names no processor of this device",
                expected="processors the device has and tells of, such as 0-3",
                fix="python -m edge_bench.devices shows them; --cores any pins to none",
            )
        missing = set(setup.cpus) - {core.number for core in facts.cores if core.online}
        if missing:
            raise InputError(
                f"--cores {setup.cores}: no processor {min(missing)} is online",
                expected="processors the device has",
                fix="python -m edge_bench.devices",
            )
    plan = quick_plan(setups) if args.quick or kind == "local" else full_plan(setups)
    if args.blocks is not None or args.runs is not None:
        runs = plan.runs if args.runs is None else args.runs
        blocks = min(plan.blocks, runs) if args.blocks is None else args.blocks
        seconds = plan.seconds if runs >= plan.runs else 0.0
        plan = dataclasses.replace(plan, runs=runs, blocks=blocks, seconds=seconds)
    return plan


def _earlier(args: Namespace) -> BenchResult | None:
    if args.resume and args.overwrite:
        raise InputError("--resume and --overwrite contradict each other", expected="one of them")
    if args.resume and args.out.exists():
        return read_result(args.out)
    refuse_existing(args.out, args.overwrite)
    require_writable(args.out)
    return None


def resumed(earlier: BenchResult, fresh: BenchResult) -> BenchResult:
    """What was measured before, if it was the same benchmark."""
    same = {
        "target": (earlier.target, fresh.target),
        "device": (_identity(earlier.device), _identity(fresh.device)),
        "plan": (earlier.plan, fresh.plan),
        "models": ([m.sha256 for m in earlier.models], [m.sha256 for m in fresh.models]),
        "contract": tuple([m.preprocess for m in one.models] for one in (earlier, fresh)),
        "pictures": (earlier.pictures, fresh.pictures),
        "runner": (_runner(earlier.runner), _runner(fresh.runner)),
    }
    for name, (before, now) in same.items():
        if before != now:
            raise ResumeError(
                f"the {name} of this run is not that of the file to resume",
                expected=f"{before}"[:200],
                fix="run without --resume, with another --out",
            )
    warnings = list(earlier.warnings)
    if not earlier.complete:
        boot = ", after a reboot" if earlier.device.boot_id != fresh.device.boot_id else ""
        warnings.append(f"resumed with {len(earlier.blocks)} blocks done{boot}")
    return dataclasses.replace(
        earlier, device=fresh.device, max_drop=fresh.max_drop, warnings=tuple(warnings)
    )


def _identity(device: DeviceFacts) -> tuple[str, ...]:
    return device.model, device.soc, device.fingerprint or device.kernel, device.abi


def _runner(record: RunnerRecord) -> tuple[str, str]:
    return record.sha256, record.library_sha256


class interruptible:
    """A polite kill ends like Ctrl-C: the device is left clean."""

    def __enter__(self) -> None:
        def interrupt(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        try:
            self._old = signal.signal(signal.SIGTERM, interrupt)
        except ValueError:  # not in the main thread
            self._old = None

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)


if __name__ == "__main__":
    raise SystemExit(main())
