"""What a request wants its event to be told apart by."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from metrion.admission import labels, sends_label_not_allowed
from metrion.admission.patterns import matches
from metrion.model import Headers, Inbound, LabelRules
from tests.admission.calls import TOKEN


@pytest.mark.parametrize(
    ("headers", "user", "tags"),
    [
        ((), None, None),
        (((b"X-Metrion-User", b" ann "),), "ann", None),
        (((b"x-metrion-user", b""),), None, None),
        (((b"x-metrion-user", "Zoë".encode()),), "Zoë", None),
        (((b"x-metrion-user", b"Zo\xeb"),), "Zoë", None),
        (((b"x-metrion-user", b"u" * 1000),), "u" * 256, None),
        (((b"x-metrion-user", b"me " + TOKEN),), "me sk-metrion-…wxyz", None),
        (((b"X-Metrion-Tag-Job", b"nightly"), (b"x-metrion-tag-env", b"")), None, {"job": "nightly", "env": ""}),
        (((b"x-metrion-tag-job", b"a"), (b"X-METRION-TAG-JOB", b"b")), None, {"job": "b"}),
        (((b"x-metrion-tag-", b"a"), (b"x-metrion-tag", b"b")), None, None),
        (((b"x-metrion-tag-" + b"n" * 99, b"v" * 999),), None, {"n" * 64: "v" * 256}),
        (tuple((b"x-metrion-tag-%d" % n, b"") for n in range(40)), None, {str(n): "" for n in range(32)}),
    ],
)
def test_labels(headers: Headers, user: str | None, tags: Mapping[str, str] | None) -> None:
    assert labels(Inbound(b"POST", b"/x", headers)) == (user, tags)


CEO: Headers = ((b"X-Metrion-User", b"ceo"), (b"x-metrion-tag-Team", b"board"))
ANN = LabelRules(user="ann", tags={"team": "search", "a": "b"})


@pytest.mark.parametrize(
    ("rules", "headers", "user", "tags", "warns"),
    [
        (LabelRules(), CEO, "ceo", {"team": "board"}, False),
        (LabelRules(), (), None, None, False),
        (ANN, (), "ann", {"team": "search", "a": "b"}, False),
        (ANN, ((b"x-metrion-user", b" "),), "ann", {"team": "search", "a": "b"}, False),
        (ANN, CEO, "ceo", {"team": "board", "a": "b"}, False),
        (LabelRules(user="ann", tags={"team": "x"}, fixed=True), CEO, "ann", {"team": "x"}, False),
        (LabelRules(fixed=True), CEO, None, {"team": "board"}, False),
        (LabelRules(allowed=("c*",)), CEO, "ceo", {"team": "board"}, False),
        (LabelRules(allowed=("C*",)), CEO, None, {"team": "board"}, True),
        (LabelRules(user="ann", allowed=("x",)), CEO[:1], "ann", None, True),
        (LabelRules(user="ann", allowed=("x",)), ((b"x-metrion-user", b"ann"),), "ann", None, False),
        (LabelRules(user="ann", allowed=("x",)), (), "ann", None, False),
        (LabelRules(user="ann", allowed=("ceo",), fixed=True), CEO[:1], "ann", None, False),
        (LabelRules(allowed=("x",)), (CEO[0], (b"x-metrion-user", b"x")), "x", None, False),
        (LabelRules(allowed=("x",)), ((b"x-metrion-user", b"x"), CEO[0]), None, None, True),
    ],
)
def test_rules_of_a_token(
    rules: LabelRules, headers: Headers, user: str | None, tags: Mapping[str, str] | None, warns: bool
) -> None:
    inbound = Inbound(b"POST", b"/x", headers)
    assert labels(inbound, rules) == (user, tags)
    assert sends_label_not_allowed(inbound, rules) is warns


def test_tags_of_a_token_are_among_the_32() -> None:
    headers = tuple((b"x-metrion-tag-%d" % n, b"") for n in range(40))
    _, tags = labels(Inbound(b"POST", b"/x", headers), ANN)
    assert tags is not None
    assert len(tags) == 32
    assert (tags["team"], tags["a"]) == ("search", "b")


@pytest.mark.parametrize(
    ("label", "pattern", "expected"),
    [
        ("ann", "ann", True),
        ("ann", "Ann", False),
        ("ann", "an", False),
        ("ann", "*", True),
        ("", "*", True),
        ("ann", "**", True),
        ("team-a", "team-*", True),
        ("team-", "team-*", True),
        ("a-team-a", "team-*", False),
        ("ann@team", "*@team", True),
        ("ann@team.x", "*@team", False),
        ("a", "a*a", False),
        ("aa", "a*a", True),
        ("axbxc", "a*b*c", True),
        ("axcxb", "a*b*c", False),
        ("ab", "a*b*b", False),
        ("a.b", "a?b", False),
        ("a\nb", "a*b", True),
        ("研究-a", "研究-*", True),
        ("[a]", "[a]", True),
    ],
)
def test_a_star_is_anything_and_all_else_is_itself(label: str, pattern: str, expected: bool) -> None:
    assert matches(label, pattern) is expected


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    """A reader that goes back would take years."""
    assert not matches("a" * 256, "*a" * 100 + "b*")
