from __future__ import annotations

import pytest

from edge_bench.targets import adb
from edge_bench.targets.adb import Attached, attached
from edge_bench.targets.base import Raw


def test_a_device_without_a_description_leaves_the_next_line_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = (
        "List of devices attached\n"
        "FIRST\toffline\n"
        "SECOND                 device usb:1-2 product:panther model:Pixel_7\n"
        "THIRD no permissions (missing udev rules?); see [http://developer.android.com]\n\n"
    )
    monkeypatch.setattr(adb, "call_adb", lambda *_: Raw(0, told, ""))
    assert attached() == [
        Attached("FIRST", "offline", ""),
        Attached("SECOND", "device", "usb:1-2 product:panther model:Pixel_7"),
        Attached(
            "THIRD", "no permissions", "(missing udev rules?); see [http://developer.android.com]"
        ),
    ]
