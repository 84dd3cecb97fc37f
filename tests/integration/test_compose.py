"""docker-compose.yml without an engine: what it refers to exists, nothing is open to the network, and every wait can end."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from stream.cli import main

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("topics", "reference", "worker", "simulator")


def volumes(service: Any) -> list[list[str]]:
    """[source, target] or [source, target, mode] of each."""
    return [volume.split(":") for volume in service.get("volumes", [])]


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "redis", *OURS, "prometheus", "alertmanager", "grafana"}
    assert all("build" in SERVICES[name] for name in OURS)


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_exist_and_named_volumes_are_declared(name: str) -> None:
    for source, _, *mode in volumes(SERVICES[name]):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"], f"{source}: the repository is not a container's to write"
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_images_of_others_are_pinned(name: str) -> None:
    if name not in OURS:
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+(-alpine)?", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_wait_is_for_something_that_can_come(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert "test" in SERVICES[other]["healthcheck"]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert "restart" not in SERVICES[other], f"{other} is restarted, so it never completes"


@pytest.mark.parametrize("name", OURS)
def test_endpoints_of_the_configuration_are_set(name: str) -> None:
    """All DRIFTSTREAM_ variables of the mounted configuration: their defaults are loopback, which in a container leads nowhere."""
    command = SERVICES[name]["command"]
    path = command[command.index("--config") + 1]
    mounted = next((ROOT / source, target) for source, target, *_ in volumes(SERVICES[name]) if path.startswith(target))
    configuration = (mounted[0] / Path(path).relative_to(mounted[1])).read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{(DRIFTSTREAM_\w+)", configuration))
    assert named == set(SERVICES[name]["environment"])


@pytest.mark.parametrize("name", OURS)
def test_command_line_takes_the_command(name: str) -> None:
    command: click.Command | None = main
    arguments = SERVICES[name]["command"]
    while isinstance(command, click.Group):
        _, command, arguments = command.resolve_command(click.Context(command), arguments)
    assert command is not None
    command.make_context(name, list(arguments)).close()  # parses, does not run; raises UsageError


def test_reference_is_written_where_the_worker_reads_it() -> None:
    command = SERVICES["reference"]["command"]
    written = Path(command[command.index("--reference-out") + 1])
    assert written.parent == Path(SERVICES["worker"]["environment"]["DRIFTSTREAM_REFERENCES"])
    shared = {target: source for source, target, *_ in volumes(SERVICES["reference"])}[str(written.parent)]
    assert [shared, str(written.parent)] in volumes(SERVICES["worker"])


def test_prometheus_finds_its_targets_by_their_service_names() -> None:
    configuration = yaml.safe_load((ROOT / "config" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    sections = [*configuration["scrape_configs"], *configuration["alerting"]["alertmanagers"]]
    found = {(name, dns["port"]) for section in sections for dns in section.get("dns_sd_configs", []) for name in dns["names"]}
    published = {(name, int(port.rpartition(":")[2])) for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert found == {("worker", 8080), ("alertmanager", 9093)}
    assert found <= published


def test_grafana_finds_what_its_provisioning_names() -> None:
    service = SERVICES["grafana"]
    mounted = {target: ROOT / source for source, target, *_ in volumes(service) if source.startswith(".")}
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounted[str(home.parent)] / home.name).is_file()
    provisioning = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "config" / "grafana" / "provisioning").rglob("*.yml"))
    assert set(re.findall(r"\$\{(\w+)\}", provisioning)) <= set(service["environment"])
    assert service["environment"]["DRIFTSTREAM_DASHBOARDS"] in mounted


def test_docker_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("no `docker compose` here; it needs no engine for this")
    done = subprocess.run([docker, "compose", "-f", FILE, "config", "--quiet"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
