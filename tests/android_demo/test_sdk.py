"""Where the build takes its packing tools from."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_demo.build_steps.tools import sdk_platform, sdk_tool
from fiqa.errors import MissingDependencyError


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for version in ("9.0.0", "34.0.0", "33.0.2"):
        (tmp_path / "build-tools" / version).mkdir(parents=True)
        (tmp_path / "build-tools" / version / "aapt2").touch()
    (tmp_path / "platforms/android-34").mkdir(parents=True)
    (tmp_path / "platforms/android-34/android.jar").touch()
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    return tmp_path


def test_the_newest_build_tools_of_a_named_sdk_are_taken(sdk: Path) -> None:
    assert sdk_tool("aapt2") == str(sdk / "build-tools/34.0.0/aapt2")
    assert sdk_platform("34") == sdk / "platforms/android-34/android.jar"


def test_an_sdk_that_lacks_something_is_told_and_not_passed_over(sdk: Path) -> None:
    with pytest.raises(MissingDependencyError, match="no zipalign in build-tools") as told:
        sdk_tool("zipalign")
    assert "sdkmanager" in told.value.fix
    with pytest.raises(MissingDependencyError, match="platforms/android-35"):
        sdk_platform("35")


def test_without_an_sdk_the_path_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    assert sdk_platform("34") is None
    with pytest.raises(MissingDependencyError, match="no-such-tool cannot be found"):
        sdk_tool("no-such-tool")
