"""A TCP proxy that makes a line slow, silent, broken or absent."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.services.processes import HOST, free_port

T = TypeVar("T")
CHUNK = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with zero seconds: close sends RST
PATIENCE = 120.0  # seconds the proxy's own thread gets, which waits for nobody
TO_BE_READ = 0.1  # seconds a server gets to act on what it was sent last


@dataclass
class Line:
    """One connection through the proxy."""

    ends: bool = False  # the client sees nothing more
    half_closed: bool = (
        False  # the server has seen its end, the client has not: what either sends gets lost
    )
    # Kafka only: the beginnings of frames, in either direction
    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    unanswered: set[int] = field(default_factory=set)  # correlation ids whose answers get lost


class TcpProxy:
    """Forwards 127.0.0.1:`port` to an upstream server.

    It connects to the server only when a client comes. A `listener` that is given may lie in
    another network namespace; it is closed with the proxy, and `heal` cannot open it again.
    """

    def __init__(
        self, upstream_host: str, upstream_port: int, listener: socket.socket | None = None
    ) -> None:
        self.host = HOST
        self.port = free_port() if listener is None else listener.getsockname()[1]
        self._listener = listener
        self._upstream = (upstream_host, upstream_port)
        self._rate: float | None = (
            None  # bytes a second from clients to the server, all connections together
        )
        self._line_free = 0.0  # loop time at which the throttled line has sent what it took
        self._last_word = b""  # what a client sends last on a connection that ends with it, once
        self._open = asyncio.Event()  # cleared: nothing is forwarded
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines: dict[asyncio.StreamWriter, Line] = {}  # by the writer to the server
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True
        )
        self._thread.start()
        self._call(self._listen())

    def throttle(self, bytes_per_second: float) -> None:
        """Slows the direction client -> server down.

        What the kernel's buffers hold comes on top.
        """
        self._set_rate(bytes_per_second)

    def black_hole(self) -> None:
        """Accepts and keeps connections but forwards nothing.

        What was held goes on after `heal`.
        """
        self._loop.call_soon_threadsafe(self._open.clear)
        self._call(asyncio.sleep(0))

    def cut(self) -> None:
        """Resets every connection; new ones pass as before."""
        self._call(self._reset_all())

    def cut_after(self, word: bytes) -> None:
        """Ends the next connection on which a client sends these bytes.

        The server has them, and the client never sees the answer.
        """
        self._last_word = word

    @property
    def has_cut(self) -> bool:
        """Whether what `cut_after` asked for has come."""
        return not self._last_word

    def half_close(self) -> None:
        """Shuts every connection down towards the server only.

        To the client it stays open for ever, and silent. New ones pass as before.
        """
        self._call(self._half_close_all())

    def refuse(self) -> None:
        """Resets every connection and refuses new ones."""
        self._call(self._stop_listening())
        self.cut()

    def heal(self) -> None:
        """Forwards everything again at full speed."""
        self._set_rate(None)
        self._last_word = b""
        self._loop.call_soon_threadsafe(self._open.set)
        self._call(self._listen())

    def close(self) -> None:
        """Ends the proxy and its connections."""
        if self._thread.is_alive():
            self.refuse()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _set_rate(self, rate: float | None) -> None:
        self._rate, self._line_free = rate, 0.0

    async def _listen(self) -> None:
        if self._server is not None:
            return

        if self._listener is not None:
            self._server = await asyncio.start_server(
                self._accept, sock=self._listener, limit=CHUNK
            )
        else:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, limit=CHUNK
            )

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()  # wait_closed() would wait for the connections too
            self._server = None

    async def _reset_all(self) -> None:
        for writer in self._writers:
            with contextlib.suppress(OSError):  # its socket has been closed by then
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE
                )
            writer.transport.abort()
        self._writers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _half_close_all(self) -> None:
        for writer, line in self._lines.items():
            line.half_closed = True
            writer.write_eof()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._open.wait()
            with contextlib.suppress(OSError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            return  # cut; asyncio would log a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream, limit=CHUNK)
        self._writers.add(up_writer)
        line = self._lines[up_writer] = Line()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up_writer, line, up=True))
                both.create_task(self._pump(up_reader, writer, line, up=False))
        except* OSError:
            pass  # one side is gone: both are closed
        finally:
            self._writers.discard(up_writer)
            del self._lines[up_writer]
            up_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: "Line", up: bool
    ) -> None:
        while data := await reader.read(self._chunk(up)):
            await self._open.wait()
            if up:
                await self._take_line(len(data))
                await self._open.wait()
                if self._last_word and self._last_word in data:
                    self._last_word, line.ends = b"", True
            if line.half_closed:
                continue
            if up or not line.ends:
                writer.write(self._forwarded(line, data, up))
                await writer.drain()
            if up and line.ends:
                await asyncio.sleep(TO_BE_READ)
                raise ConnectionResetError
        if writer.can_write_eof() and (up or not line.half_closed):
            writer.write_eof()

    def _forwarded(self, line: "Line", data: bytes, up: bool) -> bytes:
        """Returns what of the bytes goes on; `up`: from the client to the server."""
        return data

    def _chunk(self, throttled: bool) -> int:
        rate = self._rate
        return CHUNK if rate is None or not throttled else max(1, min(CHUNK, int(rate / 20)))

    async def _take_line(self, size: int) -> None:
        rate = self._rate
        if rate is None:
            return
        now = self._loop.time()
        self._line_free = max(now, self._line_free) + size / rate
        await asyncio.sleep(self._line_free - now)


class KafkaProxy(TcpProxy):
    """Knows Kafka's frames, each an int32 length and a body.

    A request begins with int16 API key, int16 version and int32 correlation id, an answer with
    int32 correlation id.
    """

    def __init__(self, upstream_host: str, upstream_port: int) -> None:
        self._withheld: int | None = None
        super().__init__(upstream_host, upstream_port)

    def withhold(self, api_key: int) -> None:
        """Loses the answers to this kind of request from now on, and nothing else."""
        self._withheld = api_key

    def heal(self) -> None:
        """See TcpProxy.heal."""
        self._withheld = None
        super().heal()

    def _forwarded(self, line: Line, data: bytes, up: bool) -> bytes:
        if up:
            for frame in _frames(line.sent, data):
                api_key, _, correlation = struct.unpack_from(">hhi", frame, 4)
                if api_key == self._withheld:
                    line.unanswered.add(correlation)
            return data
        passed = [frame for frame in _frames(line.answered, data) if not self._lost(line, frame)]
        return b"".join(passed)

    @staticmethod
    def _lost(line: Line, frame: bytes) -> bool:
        correlation = struct.unpack_from(">i", frame, 4)[0]
        lost = correlation in line.unanswered
        line.unanswered.discard(correlation)
        return lost


def _frames(held: bytearray, data: bytes) -> Iterator[bytes]:
    """Yields the frames that are whole now; the beginning of the next one is held."""
    held += data
    while len(held) >= 4 and len(held) >= (size := 4 + struct.unpack_from(">i", held)[0]):
        yield bytes(held[:size])
        del held[:size]
