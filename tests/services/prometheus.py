"""A real Prometheus for tests, with a given configuration, and the questions that tests ask it."""

import json
import shutil
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from stream.embedded import LOOPBACK, ServerProcess, free_port
from tests.services.missing import MissingService


class Prometheus(ServerProcess):
    """The `prometheus` on PATH, run with a configuration file.

    Raises:
        MissingService: it is not on PATH.
    """

    def __init__(self, configuration: Path, folder: Path | None = None) -> None:
        if shutil.which("prometheus") is None:
            raise MissingService("no Prometheus: needs the program `prometheus` on PATH")
        super().__init__(folder)
        self._configuration = configuration
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    def command(self) -> list[str]:
        return [
            "prometheus",
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self._port}",
            "--log.level=warn",
        ]

    def is_ready(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=1):
            return True
        return False

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API, e.g. get("targets") or get("rules", type="alert")."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """(labels, value now) of every series that an instant vector or aggregate gives."""
        return [(series["metric"], float(series["value"][1])) for series in self.get("query", query=expression)["result"]]
