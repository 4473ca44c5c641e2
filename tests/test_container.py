"""The container: what its files say, and what becomes of it in a bare root, where no Docker is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from metrion.cli import commands
from tests.pages import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
OURS = {name: each for name, each in COMPOSE["services"].items() if each["image"] == "metrion"}
MEGABYTE = 1 << 20


def exec_form(instruction: str) -> list[str]:
    """The words of an instruction that starts a program without a shell."""
    (words,) = re.findall(rf"^{instruction}\b[^\[\n]*(\[.*\])$", DOCKERFILE, re.MULTILINE)
    parsed: list[str] = json.loads(words)
    return parsed


def parses(words: list[str]) -> bool:
    """Whether the command line takes these words."""
    command = commands.get_command(click.Context(commands), words[0])
    assert command is not None, words
    with command.make_context(words[0], list(words[1:]), resilient_parsing=False):
        return True


def test_the_dockerfile_has_nothing_to_complain_of() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert hadolint, "install the development dependencies"
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", DOCKERFILE, re.MULTILINE)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in (name for names in copied for name in names.split()):
        assert (ROOT / source).exists(), source
        assert source.partition("/")[0] in kept, source


def test_its_commands_are_commands() -> None:
    assert exec_form("ENTRYPOINT") == ["metrion"]
    assert parses(exec_form("CMD"))
    program, *words = exec_form("HEALTHCHECK")
    assert program == "metrion"
    assert parses(words)
    for service in OURS.values():
        assert "command" not in service or parses(service["command"])


def test_every_port_is_published_on_loopback_alone() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_ours_have_no_rights_and_a_root_that_nobody_writes() -> None:
    assert set(OURS) == {"proxy", "dashboard"}
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["tmpfs"] == ["/tmp:mode=1777"]  # noqa: S108 -- the container's own
        assert service["volumes"] == ["home:/var/lib/metrion"]


def test_what_the_services_refer_to_is_there() -> None:
    for service in COMPOSE["services"].values():
        assert {config["source"] for config in service.get("configs", [])} <= COMPOSE["configs"].keys()
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert set(service.get("depends_on", [])) <= COMPOSE["services"].keys()
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
    written = {name: yaml.safe_load(config["content"]) for name, config in COMPOSE["configs"].items()}
    assert written["prometheus"]["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]
    (provider,) = written["dashboards"]["providers"]
    assert any(provider["options"]["path"] in each for each in COMPOSE["services"]["grafana"]["volumes"])


def test_the_stack_waits_longer_than_requests_may_take_to_end() -> None:
    assert int(COMPOSE["services"]["proxy"]["stop_grace_period"].removesuffix("s")) > 30


@pytest.mark.timeout(900)  # it installs every dependency
def test_it_serves_in_a_bare_root_as_a_user_without_rights(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bare-root", tmp_path], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["user"], report["capabilities"], report["root_is_writable"]) == (10001, 0, False)
    assert (report["healthcheck_status"], report["exit_status"], report["key_from_a_file"]) == (0, 0, True)
    assert report["bytes"] < 350 * MEGABYTE
