"""What a `with` block does at its end with what it was given."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self")


class Closing:
    """The block closes it, or gives it up where an error leaves the block."""

    def close(self) -> None:
        """Ends it; of a writer, completes the output."""
        raise NotImplementedError

    def abort(self) -> None:
        """Gives it up: closes it, where there is no output to leave out."""
        self.close()

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
