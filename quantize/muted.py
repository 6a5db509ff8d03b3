"""Converters print from native code, past Python's streams. Muted until something fails."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LINES_SHOWN = 20


@contextmanager
def muted() -> Iterator[None]:
    """Nothing of what the block prints is seen, unless it raises: then the last lines are.

    For the whole process: no other thread should print meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as spool:
        for number in (1, 2):
            os.dup2(spool.fileno(), number)
        failed = True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, original in zip((1, 2), kept, strict=True):
                os.dup2(original, number)
                os.close(original)
            if failed:
                spool.seek(0)
                lines = spool.read().decode(errors="replace").splitlines()
                for line in lines[-LINES_SHOWN:]:
                    logger.info("| %s", line)
