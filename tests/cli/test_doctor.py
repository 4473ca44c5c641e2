from __future__ import annotations

import json

from tests.cli.console import Console
from tests.processes import STORED_KEYS, Proxy, free_port


def quiet_port(metrion: Console) -> tuple[str, str]:
    """A configuration whose port nobody listens on."""
    file = metrion.home.parent / "metrion.yaml"
    file.write_text(f"listen: 127.0.0.1:{free_port()}\n")
    return "--config", str(file)


def test_a_newcomer_is_told_what_to_do_first(metrion: Console) -> None:
    out = metrion.ok("doctor", *quiet_port(metrion))
    levels = {line[:4].strip() for line in out.splitlines()}
    assert levels == {"ok", "warn"}
    for command in ("metrion token create", "metrion key set PROVIDER", "metrion serve"):
        assert any(line.startswith("warn") and f"— `{command}`" in line for line in out.splitlines())
    assert not metrion.home.exists()


def test_what_fails_is_the_exit_status(metrion: Console) -> None:
    metrion.home.mkdir()
    (metrion.home / "control.db").write_bytes(b"garbage" * 1000)
    result = metrion("doctor", *quiet_port(metrion))
    assert result.status == 1
    assert [line[:4] for line in result.out.splitlines()].count("FAIL") >= 1
    assert result.err == ""


def test_json_has_every_finding(metrion: Console) -> None:
    arguments = ("doctor", *quiet_port(metrion))
    records = json.loads(metrion.ok(*arguments, "--format", "json"))
    lines = metrion.ok(*arguments).splitlines()
    assert [
        f"{each['level']:<4}  {each['what']}" + (f"  — {each['way_out']}" if each["way_out"] else "")
        for each in records
        if "free at" not in each["what"]
    ] == [line for line in lines if "free at" not in line]


def test_a_configuration_that_cannot_be_used_is_a_finding_like_any_other(metrion: Console) -> None:
    result = metrion("doctor", "--config", "/nowhere/metrion.yaml")
    assert result.status == 1
    assert result.out.splitlines()[0].startswith("FAIL  /nowhere/metrion.yaml: no such file")
    assert len(result.out.splitlines()) > 5


def test_while_the_proxy_runs(serve: Proxy) -> None:
    config = serve.home / "port.yaml"
    config.write_text((serve.home / "metrion.yaml").read_text() + f"\nlisten: 127.0.0.1:{serve.port}\n")
    records = json.loads(serve.metrion("doctor", "--format", "json", "--network", "--config", str(config)))
    assert {each["level"] for each in records} <= {"ok", "warn"}
    said = [each["what"] for each in records]
    assert any("answers on 127.0.0.1:" in what for what in said)
    assert sum(what.startswith("upstreams: ") and what.endswith(" answers") for what in said) == len(STORED_KEYS)
    assert any(what.startswith("store: ") and " answers, with " in what for what in said)
    text = json.dumps(records)
    assert serve.token not in text
    assert not any(key in text for key in STORED_KEYS.values())
