"""What an operation of a Core ML program is given, by name and as the type it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Value = Tensor | str
Result = Tensor | tuple[Tensor, ...]


class Arguments:
    """The arguments of one operation by name, as the type that the caller asks for."""

    def __init__(self, values: Mapping[str, Sequence[Value]]) -> None:
        self._values = values

    def tensors(self, name: str) -> list[Tensor]:
        found = self._values[name]
        assert all(isinstance(value, Tensor) for value in found), f"{name} holds text"
        return [value for value in found if isinstance(value, Tensor)]

    def tensor(self, name: str) -> Tensor:
        (value,) = self.tensors(name)
        return value

    def maybe(self, name: str) -> Tensor | None:
        return self.tensor(name) if name in self._values else None

    def ints(self, name: str) -> list[int]:
        return [int(value) for value in self.tensor(name).flatten()]

    def maybe_ints(self, name: str, default: list[int]) -> list[int]:
        return self.ints(name) if name in self._values else default

    def number(self, name: str, default: float) -> float:
        return float(self.tensor(name)) if name in self._values else default

    def flag(self, name: str) -> bool:
        return bool(self.tensor(name)) if name in self._values else False

    def text(self, name: str, default: str = "") -> str:
        if name not in self._values:
            return default
        (value,) = self._values[name]
        assert isinstance(value, str), f"{name} is no text"
        return value


Function = Callable[[Arguments], Result]
