"""Class rows, confusions and matrices as blocks of integers: all that grows with *epochs × classes*.

A row as an object with four Python integers takes about 100 bytes; in a block it takes 8 to 32.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from lightning_diag.history.counts import ClassRow, Confusion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema
    from typing_extensions import Self

MAX_INT = 2**63 - 1
"""Largest count."""

_BYTES = {"h": 2, "i": 4, "q": 8}
_LARGEST = {"h": 2**15 - 1, "i": 2**31 - 1, "q": MAX_INT}
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True, repr=False)
class Table(Sequence[_Row]):
    """An immutable sequence of rows, which are made when they are read.

    Made by :meth:`of` or :meth:`of_numbers`; two tables are equal when their rows are.

    Attributes:
        width: integers of a row; 0 for a table without rows.
        code: type of the integers, the smallest that holds them all: ``h``, ``i`` or ``q`` (16, 32, 64 bits).
        block: the integers, row by row.
    """

    width: int = 0
    code: str = "h"
    block: bytes = b""

    LOWEST: ClassVar[int] = 0
    PLAIN: ClassVar[Any] = None

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Self:
        """The table of ``rows``.

        Raises:
            ValueError: a row holds something that is no count from 0 to :data:`MAX_INT`, or rows differ in length.
        """
        return cls.of_numbers([cls._numbers(row) for row in rows])

    @classmethod
    def of_numbers(cls, numbers: ArrayLike) -> Self:
        """The table of integers of shape ``(rows, width)``; for class rows -1 says that ``predicted`` is not known.

        Raises:
            ValueError: there is another shape, or something that is no count from 0 to :data:`MAX_INT`.
        """
        if isinstance(numbers, Sequence) and not numbers:
            return cls()  # (numpy is imported only where there is something to hold)
        import numpy as np

        table = np.asarray(numbers)
        if table.size == 0:
            return cls()
        if table.ndim != 2 or table.dtype.kind not in "iu":
            raise ValueError(f"expected rows of integers from 0 to 2**63 - 1, got {table.dtype} of shape {table.shape}")
        low, high = int(table.min()), int(table.max())
        if low < cls.LOWEST or high > MAX_INT:
            raise ValueError(f"expected counts from 0 to 2**63 - 1, got {low} to {high}")
        code = next(code for code, largest in _LARGEST.items() if high <= largest)
        return cls(table.shape[1], code, table.astype(code).tobytes())

    @staticmethod
    @abstractmethod
    def _numbers(row: Any) -> tuple[int, ...]:
        """The integers of a row."""

    @staticmethod
    @abstractmethod
    def _row(*numbers: int) -> Any:
        """The row of these integers."""

    @property
    def size(self) -> int:
        """Integers in all rows."""
        return len(self.block) // _BYTES[self.code]

    def columns(self) -> tuple[list[int], ...]:
        """The integers column by column; for class rows -1 says that ``predicted`` is not known."""
        numbers = self._read()
        return tuple(numbers[i :: self.width] for i in range(self.width))

    def _read(self) -> list[int]:
        return memoryview(self.block).cast(self.code).tolist()  # type: ignore[call-overload, no-any-return]

    def __len__(self) -> int:
        return self.size // self.width if self.width else 0

    def __iter__(self) -> Iterator[_Row]:
        return map(self._row, *self.columns()) if self.width else iter(())

    @overload
    def __getitem__(self, at: int) -> _Row: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return self.of_numbers(list(zip(*self.columns(), strict=True))[at])
        start = range(len(self))[at] * self.width
        return self._row(*memoryview(self.block).cast(self.code)[start : start + self.width])  # type: ignore[call-overload]

    def __repr__(self) -> str:
        return f"{type(self).__name__}.of({list(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """To pydantic, and so in JSON and its schema, a table is the tuple of its rows."""
        from pydantic_core import core_schema

        rows = handler.generate_schema(cls.PLAIN)
        return core_schema.no_info_wrap_validator_function(
            lambda value, inner: value if isinstance(value, cls) else cls.of(inner(value)),
            rows,
            serialization=core_schema.plain_serializer_function_ser_schema(tuple, return_schema=rows),
        )


class ClassRows(Table[ClassRow]):
    """One row per class: index, support, predicted, correct."""

    __slots__ = ()
    LOWEST = -1
    PLAIN = tuple[ClassRow, ...]

    @staticmethod
    def _numbers(row: ClassRow) -> tuple[int, ...]:
        if min(row.index, row.support, row.predicted or 0, row.correct) < 0:
            raise ValueError(f"{row}: expected counts of 0 or more")
        return row.index, row.support, -1 if row.predicted is None else row.predicted, row.correct

    @staticmethod
    def _row(*numbers: int) -> ClassRow:
        index, support, predicted, correct = numbers
        return ClassRow(index=index, support=support, predicted=None if predicted < 0 else predicted, correct=correct)


class Confusions(Table[Confusion]):
    """How often one class was taken for another: target, predicted, count."""

    __slots__ = ()
    PLAIN = tuple[Confusion, ...]

    @staticmethod
    def _numbers(row: Confusion) -> tuple[int, ...]:
        return row.target, row.predicted, row.count

    @staticmethod
    def _row(*numbers: int) -> Confusion:
        target, predicted, count = numbers
        return Confusion(target=target, predicted=predicted, count=count)


class Matrix(Table[tuple[int, ...]]):
    """A confusion matrix; rows are targets."""

    __slots__ = ()
    PLAIN = tuple[tuple[int, ...], ...]

    @staticmethod
    def _numbers(row: tuple[int, ...]) -> tuple[int, ...]:
        return row

    @staticmethod
    def _row(*numbers: int) -> tuple[int, ...]:
        return numbers
