"""A TCP proxy before Redis that can lose the answer to a checkpoint which Redis has executed, and the connection with it."""

import hashlib
import select
import socket
import threading
from contextlib import suppress
from importlib.resources import files
from typing import Self
from urllib.parse import urlsplit

from stream.embedded import LOOPBACK, free_port

CHUNK = 1 << 16


class RedisProxy:
    """Listens on loopback and hands bytes through. `lost` counts the answers that it has dropped."""

    def __init__(self, redis_url: str) -> None:
        self._redis, self._port = urlsplit(redis_url), free_port()
        script = b"".join(files("stream").joinpath(f"lua/{name}.lua").read_bytes() for name in ("in_era", "checkpoint"))
        self._digest = hashlib.sha1(script).hexdigest().encode()  # what Redis calls a script by
        self._armed, self._lock = False, threading.Lock()
        self.lost = 0

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self._port}/0"

    def lose_an_answer(self) -> None:
        """The next answer to a checkpoint does not arrive."""
        with self._lock:
            self._armed = True

    def __enter__(self) -> Self:
        self._listener = socket.create_server((LOOPBACK, self._port))
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), name="proxy", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Hand on what one connection says, until one side closes it."""
        with client, suppress(OSError), self._connect() as redis:
            redis.settimeout(None)
            tail, caught = b"", False
            while True:
                ready, _, _ = select.select([client, redis], [], [])
                if client in ready:
                    request = client.recv(CHUNK)
                    if not request:
                        return
                    caught = caught or self._catches(tail + request)
                    tail = request[-len(self._digest) :]
                    redis.sendall(request)
                if redis in ready:
                    answer = redis.recv(CHUNK)
                    if not answer or (caught and self._loses(answer)):
                        return
                    client.sendall(answer)
                    caught = False

    def _connect(self) -> socket.socket:
        return socket.create_connection((self._redis.hostname, self._redis.port), timeout=10)

    def _catches(self, request: bytes) -> bool:
        with self._lock:
            caught = self._armed and self._digest in request
            self._armed = self._armed and not caught
        return caught

    def _loses(self, answer: bytes) -> bool:
        """Whether the answer says that the script was executed; one that says that Redis does not know it is handed on."""
        if answer.startswith(b"-"):
            self.lose_an_answer()
            return False
        self.lost += 1
        return True
