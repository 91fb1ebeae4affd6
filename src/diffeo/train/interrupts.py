"""Ctrl-C and SIGTERM during training: noted at once, obeyed at the end of the step."""

import signal
import threading
import time
from types import FrameType
from typing import Any

ECHO = 2.0
"""Seconds within which a launcher's copy of a signal is no second one."""


class Interrupts:
    """Notes the first SIGINT or SIGTERM; a second SIGINT interrupts at once.

    Only in the main thread, where Python delivers signals; and only where SIGINT would interrupt
    and SIGTERM is not ignored: whoever chose otherwise keeps what they chose.

    Args:
        launched: whether a launcher passes signals on to its processes, which may have got them
            from the terminal already.
    """

    def __init__(self, launched: bool = False):
        self.asked = 0
        """The signal that asked training to end; 0 for none."""
        self.launched = launched
        self._when = 0.0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

    def listen(self) -> None:
        """Begins to note signals, whatever handlers are there now."""
        for number, before in self._before.items():
            wanted = before is not signal.SIG_IGN and before is not None
            if number == signal.SIGINT:
                wanted = before is signal.default_int_handler
            signal.signal(number, self._note if wanted else before)

    def restore(self) -> None:
        """Puts the handlers back that were there when this was made."""
        for number, before in self._before.items():
            if before is not None:
                signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.asked:
            self.asked, self._when = number, now
        elif number == signal.SIGINT and not (self.launched and now - self._when < ECHO):
            raise KeyboardInterrupt
