from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from metrion.cli import COMMANDS
from tests.cli.console import SCRIPT, Console


def completed(metrion: Console, *words: str, env: dict[str, str] | None = None) -> list[str]:
    """What bash is offered for the last of these words."""
    asked = {"_METRION_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    offered = metrion.ok(env=asked | (env or {})).splitlines()
    return [line.partition(",")[2] for line in offered if line]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("metrion", ""), list(COMMANDS)),
        (("metrion", "t"), ["token", "tail", "today"]),
        (("metrion", "token", ""), ["create", "list", "revoke", "rotate", "set"]),
        (("metrion", "report", "l"), ["latency"]),
        (("metrion", "completion", ""), ["bash", "zsh", "fish"]),
        (("metrion", "key", "set", "g"), ["google", "gemini", "grok"]),
        (("metrion", "key", "remove", "mi"), ["mistral"]),
        (("metrion", "tail", "--provider", "x"), ["xai"]),
        (("metrion", "token", "revoke", ""), []),
        (("metrion", "tail", "--stat"), ["--status"]),
    ],
)
def test_words_are_completed(metrion: Console, words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(metrion, *words) == offered
    assert not metrion.home.exists()


def test_tokens_accounts_and_providers_are_those_of_the_home(metrion: Console) -> None:
    metrion.ok("account", "create", "team")
    for name in ("laptop", "lab", "ci"):
        metrion.ok("token", "create", name)
    metrion.ok("token", "revoke", "lab")
    (metrion.home / "metrion.yaml").write_text("providers: {my-vllm: {like: openai, upstream: 'http://localhost:1'}}\n")
    assert completed(metrion, "metrion", "token", "revoke", "la") == ["laptop"]
    assert completed(metrion, "metrion", "token", "create", "--account", "") == ["default", "team"]
    assert completed(metrion, "metrion", "account", "set", "t") == ["team"]
    assert completed(metrion, "metrion", "key", "set", "my") == ["my-vllm"]


@pytest.mark.parametrize(
    "words", [("token", "revoke", ""), ("account", "set", ""), ("token", "create", "--account", "")]
)
@pytest.mark.parametrize(("file", "content"), [("metrion.yaml", "nonsense: 1\n"), ("control.db", "garbage" * 1000)])
def test_what_is_broken_is_not_told_while_typing(
    metrion: Console, words: tuple[str, ...], file: str, content: str
) -> None:
    metrion.home.mkdir()
    (metrion.home / file).write_text(content)
    assert completed(metrion, "metrion", *words) == []


def test_another_configuration_is_heeded(metrion: Console, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("providers: {my-vllm: {like: openai, upstream: 'http://localhost:1'}}\n")
    assert completed(metrion, "metrion", "key", "set", "--config", str(file), "my") == ["my-vllm"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_to_install_it(metrion: Console, shell: str) -> None:
    script = metrion.ok("completion", shell)
    assert f"_METRION_COMPLETE={shell}_complete" in script
    assert [line[:1] for line in script.splitlines()[-2:]] == ["#", "#"]
    assert f"metrion completion {shell}" in script.splitlines()[-1]
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_in_a_real_bash(metrion: Console) -> None:
    program = (
        'eval "$(metrion completion bash)"; COMP_WORDS=(metrion rep); COMP_CWORD=1; '
        '_metrion_completion metrion rep metrion; echo "${COMPREPLY[@]}"'
    )
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", program],
        env=metrion.environment({"PATH": path}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["report", "reprice"]
    assert done.stderr == ""


def test_an_unknown_shell_is_told_which_there_are(metrion: Console) -> None:
    result = metrion("completion", "tcsh")
    assert result.status == 2
    assert "'bash', 'zsh', 'fish'" in result.err
