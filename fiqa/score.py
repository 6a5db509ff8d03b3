"""Score face pictures with an artifact: one line a face, accepted or rejected.

    python -m fiqa.score student_int8.tflite faces/
    python -m fiqa.score student_int8.tflite a.jpg b.jpg --threshold 0.4 --json
    python -m fiqa.score student_int8.tflite boxes.csv --root photos --out scores.csv
    python -m fiqa.score student_int8.tflite party.jpg --detect --draw scored.jpg

Takes pictures, folders, and CSV or Parquet lists that may name a face box a row. A picture is
taken as the crop of one face, unless its row names a box or --detect finds its faces. A picture
that cannot be scored is reported and the rest goes on; the exit code is then 1.
"""

from __future__ import annotations

import csv
import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.contract import PreprocessSpec, load_picture
from fiqa.detector import Detector
from fiqa.draw import Mark, draw_to, drawing_paths
from fiqa.engines import RUNTIMES
from fiqa.errors import InputError, PictureError
from fiqa.files import BYTES_OF_NAMES, refuse_existing, require_file, require_writable, writing
from fiqa.progress import track
from fiqa.records import from_plain, read_json
from fiqa.runtime import Face, Scored, Scorer
from fiqa.sources import Source, box_text, read_sources

Result = tuple[Face, Scored]


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("artifact", type=Path, help="a .tflite or .onnx file")
    add("inputs", type=Path, nargs="+", help="pictures, folders, CSV lists")
    add("--root", type=Path, help="the folder that names in lists refer to")
    add("--detect", action="store_true", help="find the faces of whole photos, one row a face")
    add("--threshold", type=float, help="accept from this score on (default: the manifest's)")
    add("--out", type=Path, help="also write a CSV of the scores")
    add("--draw", type=Path, metavar="OUT", help="also draw: a picture, or a folder for several")
    add("--overwrite", action="store_true", help="replace existing --out and --draw")
    add("--runtime", choices=("auto", *RUNTIMES), default="auto", help="what runs the artifact")
    add("--threads", type=int, default=1, help="threads of the runtime")
    add("--preprocess", type=Path, help="JSON of a foreign artifact's contract")
    return cli.run(parser, _score, argv)


def _score(args: Namespace) -> cli.Outcome:
    if args.threshold is not None and not math.isfinite(args.threshold):
        raise InputError(f"--threshold {args.threshold}", expected="a number such as 0.4")
    sources = [source for given in args.inputs for source in read_sources(given, args.root)]
    if args.out:
        refuse_existing(args.out, args.overwrite)
        require_writable(args.out)
    drawings = drawing_paths(args.draw, sources, args.overwrite) if args.draw else {}
    spec = read_spec(args.preprocess) if args.preprocess else None
    threads = max(args.threads, 1)
    scorer = Scorer(args.artifact, preprocess=spec, runtime=args.runtime, threads=threads)
    detector = Detector(threads=threads) if args.detect else None
    threshold = scorer.threshold if args.threshold is None else args.threshold
    results = list(_results(sources, scorer, detector))
    rows = [_row(face, scored, threshold) for face, scored in results]
    if args.out:
        _write_csv(args.out, rows)
    _draw(drawings, results, rows, scorer.spec)
    failed = sum(row["score"] is None for row in rows)
    document = {
        "artifact": str(args.artifact),
        "sha256": scorer.manifest.sha256 if scorer.manifest else None,
        "detector": detector.manifest.sha256 if detector else None,
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


def _results(
    sources: Sequence[Source], scorer: Scorer, detector: Detector | None
) -> Iterator[Result]:
    """Pictures are opened one by one: each failure is told with its picture."""
    faces = [Face(source.path, source.row.box, source.row.crop) for source in sources]
    if detector is None:
        scores = track(scorer.score_each(faces), "scoring", len(faces))
        yield from zip(faces, scores, strict=True)
        return
    for face in track(faces, "finding and scoring", len(faces)):
        if face.box or face.crop:
            yield face, next(scorer.score_each([face]))
        else:
            yield from _found_and_scored(face, scorer, detector)


def _found_and_scored(face: Face, scorer: Scorer, detector: Detector) -> Iterator[Result]:
    """Every face of a picture, largest first; without any, the picture with the reason."""
    try:
        picture = load_picture(face.picture)
    except PictureError as error:
        yield face, Scored(None, error.found)
        return
    boxes = [found.box for found in detector.find(picture)]
    if not boxes:
        yield face, Scored(None, f"{face.picture!s}: no face found")
    scores = scorer.score_each(Face(picture, box) for box in boxes)
    for box, scored in zip(boxes, scores, strict=True):
        yield Face(face.picture, box), scored


def _row(face: Face, result: Scored, threshold: float | None) -> dict[str, Any]:
    accepted = None
    if threshold is not None and result.score is not None:
        accepted = result.score >= threshold
    return {
        "image": str(face.picture),
        "box": list(face.box) if face.box else None,
        "score": result.score,
        "accepted": accepted,
        "error": result.error,
    }


def _line(row: dict[str, Any]) -> str:
    if row["score"] is None:
        return f"failed          {row['error']}"
    verdict = {None: "", True: "accept", False: "reject"}[row["accepted"]]
    line = f"{row['score']:.4f}  {verdict:6}  {row['image']}"
    return f"{line}  {box_text(row['box'])}" if row["box"] else line


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with (
        writing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=BYTES_OF_NAMES) as handle,
    ):
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"box": box_text(row["box"] or ())} for row in rows)


def _draw(
    drawings: dict[Path, Path],
    results: Sequence[Result],
    rows: Sequence[dict[str, Any]],
    spec: PreprocessSpec,
) -> None:
    """Each picture once, with all its scored faces; one that cannot be read is not drawn."""
    for path, place in drawings.items():
        try:
            picture = load_picture(path)
        except PictureError:
            continue  # its row says why
        marks = [
            Mark(
                f"{row['score']:.2f}",
                face.box,
                spec.square(picture, face.box, face.crop),
                row["accepted"],
            )
            for (face, _), row in zip(results, rows, strict=True)
            if face.picture == path and row["score"] is not None
        ]
        draw_to(place, picture, marks)


if __name__ == "__main__":
    raise SystemExit(main())
