"""Whether a mounted NAS hangs while we work on it: our calls do not return then, and another thread has to say so."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from exlab_orch.errors import NasFault, NasUnreachable
from exlab_orch.progress import Observer
from exlab_orch.transports import heartbeat
from exlab_orch.transports.process import Command, Companion
from exlab_orch.transports.right_place import HANGS_HINT
from exlab_orch.transports.silence import Silence

_PATIENCE_SECONDS: Final = 10.0
_LISTEN_SECONDS: Final = 0.1

OnHang = Callable[[NasFault], object]


class Pulse:
    """An observer that counts every sign of life, and hands it on."""

    def __init__(self, watch: Observer) -> None:
        self._watch = watch
        self.beats = 0

    def begin(self, run_path: str, phase: str, files: int, byte_total: int) -> None:
        """See Observer."""
        self.beats += 1
        self._watch.begin(run_path, phase, files, byte_total)

    def advance(self, byte_count: int) -> None:
        """See Observer."""
        self.beats += 1
        self._watch.advance(byte_count)

    def end(self) -> None:
        """See Observer."""
        self.beats += 1
        self._watch.end()


@contextmanager
def watched(root: str, moved: Callable[[], object], on_hang: OnHang) -> Iterator[None]:
    """Have a companion look at the NAS during the block; when it falls silent and nothing moves any more, it hangs.

    It is started before the block opens a file there: a child that is started later closes that file, and hangs in it.

    Args:
        root: of the mounted NAS.
        moved: gives another value when the work went on since the last time.
        on_hang: called in another thread, once, while the block hangs.
    """
    command = Command(sys.executable, ("-I", "-S", heartbeat.__file__, root))
    companion, ended = Companion(command, ready_seconds=_PATIENCE_SECONDS), threading.Event()

    def watch() -> None:
        before, silence = moved(), Silence(_LISTEN_SECONDS)
        while companion.is_there and not ended.is_set():
            heard, now = companion.prints_within(_LISTEN_SECONDS), moved()
            seconds, before = silence.after_round(heard=heard or now != before), now
            if seconds > _PATIENCE_SECONDS:
                words = f"The NAS at {root} did not answer within {_PATIENCE_SECONDS:g} s."
                on_hang(NasUnreachable(words, hint=HANGS_HINT))
                return

    listener = threading.Thread(target=watch, daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join()
        companion.end()
