"""Draws docs/pipeline.svg, readable on light and on dark ground.

python docs/pipeline.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

WIDTH, HEIGHT = 1010, 318
STYLE = """
text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #24292f; text-anchor: middle; }
.name { font-weight: 600; font-size: 15px; }
.step { fill: #dbeafe; stroke: #2563eb; }
.file { fill: #f6f8fa; stroke: #8c959f; }
.arrow { stroke: #57606a; stroke-width: 2; fill: none; marker-end: url(#head); }
#head path { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .step { fill: #12305e; stroke: #58a6ff; }
  .file { fill: #21262d; stroke: #8b949e; }
  .arrow { stroke: #9aa4ae; }
  #head path { fill: #9aa4ae; }
}
"""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" '
    'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)
MEANING = (
    "The pipeline. A label set goes into train, which writes a checkpoint; export and quantize "
    "make artifacts of it, each proved or judged; fiqa.score, edge_bench and android_demo use them."
)
# kind, x, y, width, height, name, lines below it
BOXES = (
    ("file", 8, 100, 122, 76, "label set", ["CSV, Parquet,", "folder"]),
    ("step", 160, 92, 150, 92, "train/", ["teacher, student,", "pseudo-labels"]),
    ("file", 340, 100, 150, 76, "checkpoint", ["weights.safetensors", "manifest.json"]),
    ("step", 520, 30, 150, 92, "export/", ["exact rewrites,", "proof of parity"]),
    ("step", 520, 154, 150, 92, "quantize/", ["INT8, and a verdict", "on what it lost"]),
    ("file", 700, 100, 130, 76, "artifact", [".tflite  .onnx", ".mlpackage"]),
    ("step", 860, 8, 142, 72, "fiqa.score", ["pictures, photos"]),
    ("step", 860, 92, 142, 92, "edge_bench/", ["phone, board, core:", "bench.json, report"]),
    ("step", 860, 196, 142, 72, "android_demo/", ["camera app"]),
    ("step", 8, 280, 994, 30, "", ["fiqa/: contract, manifests, metrics, errors: what all share"]),
)  # fmt: skip
ARROWS = (
    (130, 138, 158, 138), (310, 138, 338, 138), (490, 125, 518, 90), (490, 151, 518, 186),
    (670, 90, 698, 125), (670, 186, 698, 151), (830, 120, 858, 56), (830, 138, 858, 138),
    (830, 156, 858, 220),
)  # fmt: skip


def draw() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{MEANING}">',
        f"<style>{STYLE}</style>{HEAD}",
        *(part for box in BOXES for part in _box(*box)),
        *(f'<path class="arrow" d="M{a} {b} L{c} {d}"/>' for a, b, c, d in ARROWS),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(
    kind: str, x: int, y: int, width: int, height: int, name: str, lines: Sequence[str]
) -> Iterator[str]:
    yield f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'
    texts = [(name, ' class="name"')] if name else []
    texts += [(line, "") for line in lines]
    top = y + height / 2 - 9.5 * (len(texts) - 1) + 5
    for number, (text, style) in enumerate(texts):
        yield f'<text{style} x="{x + width / 2:g}" y="{top + 19 * number:g}">{text}</text>'


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw())
