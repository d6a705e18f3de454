"""What a `with` block around a reader or a writer does at its end."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self")


class ReaderContext:
    """A reader that the block closes."""

    def close(self) -> None:
        """Stops reading."""
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class WriterContext:
    """A writer whose output the block completes, or gives up when it is left by an error."""

    def close(self) -> None:
        """Completes the output."""
        raise NotImplementedError

    def abort(self) -> None:
        """Gives the output up."""
        raise NotImplementedError

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
