"""What holds for every test: fixed seeds, no network, and a reason for each skip."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import sys
from typing import Any

import numpy as np
import pytest

# Before torch is loaded: nets are tiny here, and on a busy machine a second OpenMP thread makes
# every operation wait for its turn.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("macos") and sys.platform != "darwin":
        pytest.skip(f"needs macOS, this is {sys.platform}")
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch", reason="needs torch for its CUDA device")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, torch sees none")


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # libraries may draw from the global generator
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default run is offline. A device or an install may be reached by tests marked so."""
    if any(request.node.get_closest_marker(name) for name in ("slow", "device")):
        return
    connect = socket.socket.connect

    def connect_nearby(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            pytest.fail(f"a test of the default run reaches for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_nearby)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
