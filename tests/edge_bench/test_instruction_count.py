"""The plugin's classes of instructions, held against words that an assembler made."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from edge_bench.runner.build import HERE

WORDS = {
    0x4E829420: "dot_product",  # sdot v0.4s, v1.16b, v2.16b
    0x2E859483: "dot_product",  # udot v3.2s, v4.8b, v5.8b
    0x4FA2E820: "dot_product",  # sdot v0.4s, v1.16b, v2.4b[3]
    0x6FA2E820: "dot_product",  # udot v0.4s, v1.16b, v2.4b[3]
    0x2FB1E3DF: "dot_product",  # udot v31.2s, v30.8b, v17.4b[1]
    0x4E82A420: "dot_product",  # smmla v0.4s, v1.16b, v2.16b
    0x6E82A420: "dot_product",  # ummla v0.4s, v1.16b, v2.16b
    0x4E82AC20: "dot_product",  # usmmla v0.4s, v1.16b, v2.16b
    0x0E628020: "multiply_add_int8",  # smlal v0.4s, v1.4h, v2.4h
    0x4F522020: "multiply_add_int8",  # smlal2 v0.4s, v1.8h, v2.h[1]
    0x4E22CC20: "multiply_add_float",  # fmla v0.4s, v1.4s, v2.4s
    0x4FA21020: "multiply_add_float",  # fmla v0.4s, v1.4s, v2.s[1]
    0xF9400020: "load_store",  # ldr x0, [x1]
    0x4EA28420: "",  # add v0.4s, v1.4s, v2.4s
    0x6FA24020: "",  # mls v0.4s, v1.4s, v2.s[1]
    0x6FA2D020: "",  # sqrdmlah v0.4s, v1.4s, v2.s[1]
}
PROGRAM = """
#include "%s"
int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    uint64_t found[CLASSES] = {0};
    classify((uint32_t)strtoul(argv[i], NULL, 16), found);
    for (int k = 0; k < CLASSES; k++)
      if (found[k]) printf("%%s ", names[k]);
    printf("\\n");
  }
}
"""
# What only QEMU has is left out with the functions that ask for it.
FLAGS = ("-O1", "-ffunction-sections", "-Wl,--gc-sections")


def test_each_instruction_is_counted_in_its_class(tmp_path: Path) -> None:
    if util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang, which builds the plugin")
    source, program = tmp_path / "words.c", tmp_path / "words"
    source.write_text(PROGRAM % (HERE / "instruction_count.c"))
    build = [sys.executable, "-m", "ziglang", "cc", *FLAGS, source, "-o", program]
    subprocess.run(build, check=True, timeout=300, capture_output=True)
    told = subprocess.run(
        [program, *map(hex, WORDS)], check=True, timeout=60, capture_output=True, text=True
    )
    found = [line.split() for line in told.stdout.splitlines()]
    assert found == [["all", *([name] if name else [])] for name in WORDS.values()]
