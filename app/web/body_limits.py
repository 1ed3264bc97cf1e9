"""How much of what clients send is kept in memory before anybody has looked at it."""

from __future__ import annotations

import io
import threading

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error, RequestEntityTooLarge

BODIES = 4  # largest bodies that are kept at once; there is room for hundreds of usual ones
DRAINED = 4  # times the largest body: how much of a larger one is read, and forgotten, before it is answered


class TooBusy(Error):
    code = 503
    reason = "Service Unavailable"


class Intake:
    """Counts the bytes of all bodies that are being received or answered.

    Attributes
    ----------
    max_body : int
        Bytes of one body that are accepted.
    drained : int
        Bytes of a body beyond which the connection is cut; up to there the sender gets to read the error.
    """

    def __init__(self, max_body: int):
        self.max_body = max_body
        self.drained = DRAINED * max_body
        self._left = BODIES * max_body
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Whether there is room for ``count`` bytes more, which are then taken; a negative count gives them back."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True


class _Nothing(io.BytesIO):
    """A buffer, as waitress uses them, that keeps nothing."""

    def append(self, _data: bytes) -> None:
        pass

    def getfile(self) -> io.BytesIO:
        return self

    def __len__(self) -> int:
        return 0


class Parser(HTTPRequestParser):
    """Reads a request, and keeps its body only while the intake has room; the sender of what has none gets an answer.

    Most clients read no answer before they have sent everything, so a body that is refused is read to its end.
    """

    completed: bool
    expect_continue: bool

    def __init__(self, adj):
        super().__init__(adj)
        self._intake: Intake = adj.intake
        self._taken = 0
        self._refusal: Error | None = None

    def received(self, data: bytes) -> int:
        consumed = super().received(data)
        if self.body_rcv is not None and self._refusal is None:
            self._refusal = self._judge()
            if self._refusal is not None:
                self._forget()
        if self._refusal is not None and (self.completed or self.expect_continue):
            self.error = self._refusal
            self.completed = True
            self.expect_continue = False  # nobody needs to send what will be refused
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # a length of thousands of digits
            raise ParsingError("Content-Length is invalid") from None

    def _judge(self) -> Error | None:
        if max(self.content_length, len(self.body_rcv)) > self._intake.max_body:
            return RequestEntityTooLarge(f"a request may have {self._intake.max_body:,} bytes; send fewer images")
        more = len(self.body_rcv) - self._taken
        if not self._intake.take(more):
            return TooBusy("too many images are being received; try again in a moment")
        self._taken += more
        return None

    def _forget(self) -> None:
        self.body_rcv.getbuf().close()
        self.body_rcv.buf = _Nothing()
        self._give_back()

    def _give_back(self) -> None:
        taken, self._taken = self._taken, 0
        self._intake.take(-taken)

    def close(self) -> None:
        super().close()
        self._give_back()
