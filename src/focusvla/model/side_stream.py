"""Work that an accelerator may do beside other work."""

from functools import cache
from types import TracebackType

import torch


class SideStream:
    """A context whose work may run beside what follows it, until `join`.

    Only while a CUDA graph is captured: there a second stream costs nothing once, and otherwise more than it gains.
    Elsewhere the work is done in line.
    """

    def __init__(self, device: torch.device):
        is_captured = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        self._stream = _second_stream(device) if is_captured else None
        self._inside: torch.cuda.StreamContext | None = None

    def __enter__(self) -> None:
        """Begin when everything that was given to the device so far is done."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
            self._inside = torch.cuda.stream(self._stream)
            self._inside.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._inside is not None:
            self._inside.__exit__(kind, error, traceback)

    def join(self) -> None:
        """What follows waits for the work beside."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)


@cache
def _second_stream(device: torch.device) -> torch.cuda.Stream:
    """One for a device: each keeps memory of its own."""
    return torch.cuda.Stream(device)
