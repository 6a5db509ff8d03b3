"""Score face pictures with an artifact: one line a picture, accepted or rejected.

    python -m fiqa.score student_int8.tflite faces/
    python -m fiqa.score student_int8.tflite a.jpg b.jpg --threshold 0.4 --json
    python -m fiqa.score student_int8.tflite boxes.csv --root photos --out scores.csv

Takes pictures, folders, and CSV or Parquet lists that may name a face box a row. A picture
that cannot be scored is reported and the rest goes on; the exit code is then 1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.contract import PreprocessSpec
from fiqa.engines import RUNTIMES
from fiqa.errors import InputError
from fiqa.files import refuse_existing, require_file, writing
from fiqa.label_files import read_table
from fiqa.labels import parse_row
from fiqa.progress import track
from fiqa.records import from_plain, read_json
from fiqa.runtime import Face, Scored, Scorer

LISTS = (".csv", ".parquet")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    parser.add_argument("artifact", type=Path, help="a .tflite or .onnx file")
    parser.add_argument("inputs", type=Path, nargs="+", help="pictures, folders, CSV lists")
    parser.add_argument("--root", type=Path, help="the folder that names in lists refer to")
    parser.add_argument(
        "--threshold", type=float, help="accept from this score on (default: the manifest's)"
    )
    parser.add_argument("--out", type=Path, help="also write a CSV of the scores")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    parser.add_argument("--preprocess", type=Path, help="JSON of a foreign artifact's contract")
    return cli.run(parser, _score, argv)


def _score(args: Any) -> cli.Outcome:
    if args.out:
        refuse_existing(args.out, args.overwrite)
    faces = [face for source in args.inputs for face in _faces(source, args.root)]
    spec = read_spec(args.preprocess) if args.preprocess else None
    scorer = Scorer(
        args.artifact, preprocess=spec, runtime=args.runtime, threads=max(args.threads, 1)
    )
    threshold = scorer.threshold if args.threshold is None else args.threshold
    results = list(track(scorer.score_each(faces), "scoring", len(faces)))
    rows = [_row(face, result, threshold) for face, result in zip(faces, results, strict=True)]
    if args.out:
        _write_csv(args.out, rows)
    failed = sum(result.score is None for result in results)
    document = {
        "artifact": str(args.artifact),
        "sha256": scorer.manifest.sha256 if scorer.manifest else None,
        "runtime": scorer.runtime,
        "kernels": scorer.kernels,
        "threshold": threshold,
        "count": len(rows),
        "failed": failed,
        "results": rows,
    }
    return cli.Outcome("\n".join(map(_line, rows)), document, ok=failed == 0)


def read_spec(path: Path) -> PreprocessSpec:
    """A PreprocessSpec from JSON; missing fields take the contract's defaults."""
    require_file(path, "a JSON file with PreprocessSpec fields, such as size, mean and std")
    return from_plain(PreprocessSpec, read_json(path), str(path))


def _faces(source: Path, root: Path | None) -> Iterator[Face]:
    """Pictures are not opened here: each failure is told with its picture, while scoring."""
    if source.is_dir() or source.suffix.lower() in LISTS:
        table = read_table(source)
        base = root if root and not source.is_dir() else table.root
        for line, cells in table.lines:
            try:
                row = parse_row(line, cells, base)
            except ValueError as error:
                raise InputError(f"{source} row {line}: {error}") from error
            yield Face(base / row.image, row.box, row.crop)
    else:
        yield Face(source)


def _row(face: Face, result: Scored, threshold: float | None) -> dict[str, Any]:
    accepted = None
    if threshold is not None and result.score is not None:
        accepted = result.score >= threshold
    return {
        "image": str(face.picture),
        "score": result.score,
        "accepted": accepted,
        "error": result.error,
    }


def _line(row: dict[str, Any]) -> str:
    if row["score"] is None:
        return f"failed          {row['error']}"
    verdict = {None: "", True: "accept", False: "reject"}[row["accepted"]]
    return f"{row['score']:.4f}  {verdict:6}  {row['image']}"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with writing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
