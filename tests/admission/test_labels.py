"""What a request wants its event to be told apart by."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from metrion.admission import labels
from metrion.model import Headers, Inbound
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
