"""The error tree. Every error says what was found, what was expected and what to type next.

Libraries raise these where outside things (files, formats, runtimes, devices) meet ours;
only `fiqa.cli` turns them into a message and an exit code. Our own invariants use `assert`.
"""

from __future__ import annotations

from typing import Any


class ToolkitError(Exception):
    """Base of all errors a user can cause or mend. `fix` is a command, flag or step to try."""

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(found, expected, fix)

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  try: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of worker processes reach their parent whole."""
        return _rebuild, (type(self), self.found, self.expected, self.fix)

    def document(self) -> dict[str, str]:
        """The same error for `--json`."""
        return {
            "type": type(self).__name__,
            "found": self.found,
            "expected": self.expected,
            "fix": self.fix,
        }


def _rebuild(kind: type[ToolkitError], found: str, expected: str, fix: str) -> ToolkitError:
    return kind(found, expected=expected, fix=fix)


class InputError(ToolkitError):
    """Wrong arguments, a missing input, values that contradict each other."""


class PictureError(ToolkitError):
    """A picture that cannot be decoded, or that the contract refuses."""


class LabelError(ToolkitError):
    """A label set with bad rows, an unknown layout or an ambiguous score scale."""


class ManifestError(ToolkitError):
    """A manifest that is missing, damaged, too new, or does not belong to its file."""


class ArtifactError(ToolkitError):
    """A model file that no runtime can open, or that gives something other than scores."""


class MetricError(ToolkitError):
    """A figure that these numbers do not define: NaN, too few samples, no variation."""


class MissingDependencyError(ToolkitError):
    """An optional package that this command needs."""

    @classmethod
    def of(
        cls, package: str, error: ImportError, expected: str, extra: str = "export"
    ) -> MissingDependencyError:
        """For an import that failed; `extra` brings the package."""
        return cls(
            f"{package} cannot be imported: {error}",
            expected=expected,
            fix=f"pip install 'fiqa-edge[{extra}]'",
        )


class OutputError(ToolkitError):
    """A result that cannot be written: it exists, the disk is full, the folder is read-only."""
