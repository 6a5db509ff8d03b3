"""Find the faces in whole photos, as the CSV of boxes that a label set takes.

    python -m fiqa.detect photos --out boxes.csv
    python -m fiqa.detect people.csv --root photos --largest --out boxes.csv
    python -m fiqa.detect group.jpg --draw found.jpg

Takes a folder, a picture, or a CSV or Parquet list, whose score, identity, split and weight are
kept. A box is `x y w h` in pixels of the upright picture, without margin. Pictures without a
face are told and left out. Exit 1: a picture cannot be read, or none shows a face; without any
face no CSV is written.
"""

from __future__ import annotations

import csv
import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fiqa import cli
from fiqa.contract import load_picture
from fiqa.detector import CONFIDENCE, Detection, Detector
from fiqa.draw import Mark, draw_to, drawing_paths
from fiqa.errors import InputError, PictureError
from fiqa.files import BYTES_OF_NAMES, refuse_existing, require_writable, writing
from fiqa.progress import track
from fiqa.sources import Source, box_text, read_sources

COLUMNS = ("image", "identity", "split", "score", "weight", "box", "confidence")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(__doc__ or "")
    add = parser.add_argument
    add("source", type=Path, help="a folder, a picture, or a CSV or Parquet list")
    add("--root", type=Path, help="the folder that names in a list refer to")
    add("--out", type=Path, help="also write a CSV of the boxes; its names refer to the same root")
    add("--draw", type=Path, metavar="OUT", help="also draw: a picture, or a folder for several")
    add("--overwrite", action="store_true", help="replace existing --out and --draw")
    add("--largest", action="store_true", help="only the largest face of each picture")
    add(
        "--confidence", type=float, default=CONFIDENCE,
        help="take faces from this confidence on, above 0 to 1 (default: %(default)s)",
    )  # fmt: skip
    add("--threads", type=int, default=1, help="threads of the runtime")
    return cli.run(parser, _detect, argv)


def _detect(args: Namespace) -> cli.Outcome:
    if not args.source.exists():
        raise InputError(f"{args.source} does not exist", expected="a folder, a picture or a list")
    sources = list(read_sources(args.source, args.root))
    if args.out:
        refuse_existing(args.out, args.overwrite)
        require_writable(args.out)
    drawings = drawing_paths(args.draw, sources, args.overwrite) if args.draw else {}
    detector = Detector(threads=max(args.threads, 1), confidence=args.confidence)
    rows: list[dict[str, Any]] = []
    for source in track(sources, "finding faces", len(sources)):
        rows += _rows(source, detector, args.largest, drawings.get(source.path))
    found = [row for row in rows if row["box"]]
    failed = sum(bool(row["error"]) for row in rows)
    if args.out and found:
        _write_csv(args.out, found)
    document = {
        "detector": detector.manifest.sha256,
        "runtime": detector.runtime,
        "count": len(sources),
        "faces": len(found),
        "without": len(rows) - len(found) - failed,
        "failed": failed,
        "results": rows,
    }
    return cli.Outcome("\n".join(map(_line, rows)), document, bool(found) and not failed)


def _rows(
    source: Source, detector: Detector, largest: bool, drawing: Path | None
) -> Iterator[dict[str, Any]]:
    """One row a face; one without box where there is none or the picture cannot be read."""
    row = source.row
    kept = {
        "image": row.image,
        "identity": row.identity,
        "split": row.split,
        "score": None if math.isnan(row.score) else row.score,
        "weight": row.weight,
    }
    try:
        picture = load_picture(source.path)
    except PictureError as error:
        yield kept | {"box": None, "confidence": None, "error": error.found}
        return
    faces = detector.find(picture)[: 1 if largest else None]
    if drawing:
        draw_to(drawing, picture, [Mark(f"{face.confidence:.2f}", face.box) for face in faces])
    for face in faces:
        yield kept | {"box": list(face.box), "confidence": _rounded(face), "error": ""}
    if not faces:
        yield kept | {"box": None, "confidence": None, "error": ""}


def _rounded(face: Detection) -> float:
    return round(face.confidence, 4)


def _line(row: dict[str, Any]) -> str:
    if row["error"]:
        return f"failed          {row['error']}"
    if not row["box"]:
        return f"no face         {row['image']}"
    return f"{row['confidence']:.4f}  {row['image']}  {box_text(row['box'])}"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Columns that no row fills are left out."""
    fills = {"weight": 1.0}
    columns = [
        name
        for name in COLUMNS
        if name in ("image", "box", "confidence")
        or any(row[name] not in ("", None, fills.get(name)) for row in rows)
    ]
    with (
        writing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors=BYTES_OF_NAMES) as handle,
    ):
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"box": box_text(row["box"])} for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
