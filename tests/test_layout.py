"""Who may import what: detectors stand alone, sinks know messages only, clients of outside services live where they are listed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE_CLIENTS = {
    "stream/app.py",
    "stream/demo.py",
    "stream/doctor.py",
    "stream/embedded.py",
    "stream/history.py",
    "stream/kafka.py",
    "stream/simulate.py",
    "stream/store_redis.py",
    "stream/topics.py",
    "sinks/alerts.py",
}
MESSAGES = ("stream.results.", "stream.results_performance.", "stream.results_values.", "stream.alerts.")
ALLOWED = {"confluent_kafka": SERVICE_CLIENTS, "redis": SERVICE_CLIENTS, "prometheus_client": {"sinks/gauges.py", "stream/app.py"}}


def imports(source: str) -> set[str]:
    """Dotted names of all that is imported, at any depth of the code; `from a import b` gives a.b.

    >>> sorted(imports("import a.b as c; from d import e, f; from . import g"))
    ['.g', 'a.b', 'd.e', 'd.f']
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (f"{node.module}." if node.module else "")
            names |= {prefix + alias.name for alias in node.names}
    return names


def imports_of(package: str) -> list[tuple[str, str]]:
    """(file, imported name) for every import of a package."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return [(file.relative_to(ROOT).as_posix(), name) for file in files for name in sorted(imports(file.read_text(encoding="utf-8")))]


def root(name: str) -> str:
    return name.split(".")[0]


def test_detectors_import_numpy_scipy_river_and_nothing_of_ours() -> None:
    allowed = sys.stdlib_module_names | {"detectors", "numpy", "river", "scipy"}
    assert [(file, name) for file, name in imports_of("detectors") if root(name) not in allowed] == []


def test_sinks_import_nothing_from_stream_except_messages() -> None:
    of_stream = [(file, name) for file, name in imports_of("sinks") if root(name) in ("", "stream")]  # "" is a relative import
    assert [(file, name) for file, name in of_stream if not f"{name}.".startswith(MESSAGES)] == []


@pytest.mark.parametrize("client", ALLOWED)
def test_client_is_imported_only_where_it_is_listed(client: str) -> None:
    found = [file for package in ("stream", "detectors", "sinks") for file, name in imports_of(package) if root(name) == client]
    assert set(found) <= ALLOWED[client]


def test_a_worker_that_does_not_need_them_does_not_load_the_large_libraries() -> None:
    """Together they take 100 MB, a third of what a worker has."""
    loaded = (
        "import sys, stream.app; print([name for name in ('river', 'scipy.stats', 'pandas', 'pyarrow', 'sklearn') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", loaded], check=True, stdout=subprocess.PIPE, text=True)
    assert found.stdout.strip() == "[]"
