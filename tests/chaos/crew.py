"""The worker processes of a run, each kept alive as a supervisor would keep it."""

import re
import signal
import sys
import threading
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Self

from tests.chaos.worker import Kind, Trap
from tests.services.worker import WorkerProcess

POLL_S = 0.05
RETRY_S = 0.5  # after a start that failed, because Kafka or Redis is away
END_S = 60.0  # to stop in order


class Member(WorkerProcess):
    """One worker. `exits` are the codes that it has ended with by itself, or by a signal."""

    def __init__(self, name: str, config: Path, folder: Path, kind: Kind) -> None:
        folder.mkdir()
        super().__init__(config, folder=folder)
        self.name, self.trap, self.exits = name, Trap(folder / "trap"), list[int]()
        self._kind = kind
        self._retired = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)

    def command(self) -> list[str]:
        product = super().command()
        at = product.index(sys.executable) + 1
        return [*product[:at], "-m", "tests.chaos.worker", str(self.folder / "trap"), self._kind, *product[at + 2 :]]

    def is_ready(self) -> bool:
        """Whether it lives; units may come later."""
        with suppress(OSError, HTTPException):
            return self.get("health")[0] == 200
        return False

    def employ(self) -> None:
        """Start it, and start it again whenever it ends."""
        self._keeper.start()

    def retire(self) -> int | None:
        """Its exit code after SIGTERM; None if it was not running."""
        self._retired.set()
        self._keeper.join()
        return self.end(END_S) if self.is_running() else None

    def dismiss(self) -> None:
        """End it at once, in whatever state it is."""
        self._retired.set()
        with suppress(AssertionError):  # it does not run
            self.signal(signal.SIGKILL)
        self._keeper.join()
        self.kill()

    def _keep(self) -> None:
        while not self._retired.is_set():
            try:
                self.start()
            except RuntimeError:
                self._retired.wait(RETRY_S)
                continue
            while (code := self.exit_code()) is None and not self._retired.wait(POLL_S):
                pass
            if code is not None:
                self.exits.append(code)
                self.kill()

    def units_owned(self) -> int:
        """How many partitions it has; 0 if it does not answer."""
        with suppress(OSError, HTTPException):
            found = re.search(r"^driftstream_units_owned (\S+)$", self.get("metrics")[1], re.MULTILINE)
            return int(float(found[1])) if found else 0
        return 0

    def says(self, page: str, text: str) -> bool:
        """Whether a page of it has the text."""
        with suppress(OSError, HTTPException):
            return text in self.get(page)[1]
        return False


class Crew:
    """All workers of a run; the retired ones are kept for their logs."""

    def __init__(self, config: Path, folder: Path, kind: Kind = "sound") -> None:
        self._config, self._folder, self._kind = config, folder, kind
        self.members: list[Member] = []
        self.retired: list[Member] = []

    def hire(self) -> Member:
        """One more, not yet started."""
        name = f"worker-{len(self.members) + len(self.retired) + 1}"
        self.members.append(Member(name, self._config, self._folder / name, self._kind))
        return self.members[-1]

    def scale(self, workers: int) -> None:
        """So many workers; those that leave have ended in order."""
        while len(self.members) < workers:
            self.hire().employ()
        while len(self.members) > workers:
            member = self.members.pop()
            self.retired.append(member)
            code = member.retire()
            assert code in (0, None), f"{member.name} was asked to stop and ended with {code}, expected 0\n{member.log[-3000:]}"

    def kill(self) -> None:
        """`kill -9` of all; they are started again."""
        for member in self.members:
            with suppress(AssertionError):  # it is dead already
                member.signal(signal.SIGKILL)

    def owners(self) -> list[Member]:
        """Those with partitions."""
        return [member for member in self.members if member.units_owned()]

    def ended_by_themselves(self) -> list[str]:
        """Who ended with an exit code, and not by a signal."""
        return [f"{member.name} with {code}" for member in [*self.retired, *self.members] for code in member.exits if code >= 0]

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(f"--- {member.name}\n{member.log[-1500:]}" for member in self.members)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.dismiss()
