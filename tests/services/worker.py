"""A real worker in a process of its own: `driftstream worker` with a configuration that a test wrote."""

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from stream.embedded import LOOPBACK, ServerProcess, free_port

CONFIG = Path(__file__).parents[2] / "config"


class WorkerProcess(ServerProcess):
    """`start` returns when /ready says yes: it owns partitions and reaches Kafka and Redis. `stop` is SIGTERM, `kill` SIGKILL.

    Args:
        config: the configuration file.
        environ: variables beside those of this process.
        folder: see ServerProcess.
    """

    def __init__(self, config: Path, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._config, self._environ, self._port = config, environ or {}, free_port()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def log(self) -> str:
        """All that it has written so far, over all its starts."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def command(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._environ.items()]
        return ["env", *variables, sys.executable, "-m", "stream", "worker", "--config", str(self._config), "--port", str(self._port)]

    def is_ready(self) -> bool:
        with suppress(OSError):
            return self.get("ready")[0] == 200
        return False

    def get(self, page: str) -> tuple[int, str]:
        """Status and body of one of its pages."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/{page}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None, "it is not running"
        self._process.send_signal(number)

    def end(self, timeout_s: float = 30.0) -> int:
        """The exit code after SIGTERM. Raises subprocess.TimeoutExpired if it does not end in time."""
        assert self._process is not None, "it is not running"
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout_s)
        self._process = None
        return code


def write_config(path: Path, base: Path | None = None, **sections: Any) -> Path:
    """Writes a configuration: the sections given, over those of the file `base`, key by key.

    A scalar of `base` stays text (`off`), and a key without a value stays one, where safe_dump would write an empty text.
    """
    tree: dict[str, Any] = yaml.load(base.read_text(encoding="utf-8"), yaml.BaseLoader) if base else {}
    text = yaml.safe_dump(_merged(tree, json.loads(json.dumps(sections))), sort_keys=False)
    path.write_text(text.replace(": ''\n", ":\n"), encoding="utf-8")
    return path


def _merged(low: dict[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    return low | {
        key: _merged(low[key], value) if isinstance(value, dict) and isinstance(low.get(key), dict) else value
        for key, value in high.items()
    }
