"""Load and use coremltools without its chatter, and say so when it is not installed.

Outside macOS it tells eight times that Core ML's own library is absent, which we know, and that
it was not tested with this torch, which our proof of every package answers better.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType

from fiqa.errors import MissingDependencyError


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """No progress bars, warnings or log lines; gives the error messages logged meanwhile."""
    keeper = _Keeper(logging.ERROR)
    logger = logging.getLogger("coremltools")
    passed_on, logger.propagate = logger.propagate, False
    logger.addHandler(keeper)
    disabled = logging.root.manager.disable
    logging.disable(max(logging.WARNING, disabled))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield keeper.messages
    finally:
        logging.disable(disabled)
        logger.removeHandler(keeper)
        logger.propagate = passed_on


def load_coremltools(module: str = "coremltools") -> ModuleType:
    """coremltools, or a module inside it."""
    try:
        with quiet():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        expected = "coremltools, which writes Core ML packages on Linux and macOS"
        raise MissingDependencyError.of(module, error, expected) from error


class _Keeper(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage().strip())
