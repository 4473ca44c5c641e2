"""Metrion's commands in mitmproxy, mitmweb and the console: ``metrion.report`` and ``metrion.session``.

They look, and mark flows; they change nothing that passes. A report is asked for in a thread of its own, because no
request may wait for it, and comes as an entry of the event log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from mitmproxy import command, ctx, exceptions, flow, http
from mitmproxy.log import ALERT

from metrion import reports
from metrion.conversations.foot import dollars
from metrion.proxy.comments import Comments
from metrion.settings import Settings
from metrion.settings.timezones import zone

logger = logging.getLogger(__name__)

_MARKER = ":speech_balloon:"
_MOST_ROWS = 40


class Commands:
    """See the module. An addon of its own."""

    name = "metrion-commands"

    def __init__(self, settings: Settings, comments: Comments) -> None:
        self._settings = settings
        self._comments = comments
        self._asked = set[asyncio.Task[None]]()

    @command.command("metrion.report")  # type: ignore[untyped-decorator]  # mitmproxy's
    def report(self, question: str = "costs", since: str = "month") -> None:
        """Write the answer to an everyday question to the event log: costs, users, models, latency, errors, ..."""
        if question not in reports.QUESTIONS:
            raise exceptions.CommandError(f"There is no question {question!r}. Ask: {', '.join(reports.QUESTIONS)}.")
        try:
            start = reports.moment(since, datetime.now(UTC), zone(self._settings.timezone))
        except ValueError as error:
            raise exceptions.CommandError(str(error)) from error
        task = asyncio.get_running_loop().create_task(self._report(question, since, reports.Span(start)))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    @command.command("metrion.session")  # type: ignore[untyped-decorator]  # mitmproxy's
    def session(self, of: flow.Flow) -> None:
        """Mark the flows of the session that a flow belongs to, such as one run of Claude Code; ~marked shows them."""
        wanted = self._comments.session(of) if isinstance(of, http.HTTPFlow) else None
        if wanted is None:
            raise exceptions.CommandError("This flow belongs to no session that Metrion knows of.")
        view = ctx.master.addons.get("view")
        changed = []
        for each in view.resolve("@all") if view is not None else (of,):
            marker = _MARKER if isinstance(each, http.HTTPFlow) and self._comments.session(each) == wanted else ""
            if marker or each.marked == _MARKER:
                each.marked = marker
                changed.append(each)
        if view is not None:
            view.update(changed)
        count = sum(each.marked == _MARKER for each in changed)
        logger.log(ALERT, "Flows of the session %s: %d. They are marked; ~marked shows them alone.", wanted, count)

    async def _report(self, question: str, since: str, span: reports.Span) -> None:
        settings = self._settings
        try:
            answer = await asyncio.to_thread(
                reports.report, settings.journal_dir, settings.store_path, question, span, (), settings.timezone
            )
        except Exception as error:  # noqa: BLE001 -- whatever it is, the person who asked is told
            logger.log(ALERT, "The report could not be made: %s", error)
            return
        rows = [*answer.table.rows[-_MOST_ROWS:], answer.total]
        names = answer.table.columns
        used = [at for at, name in enumerate(names) if name not in reports.BESIDE or any(row[at] for row in rows)]
        rows = [tuple(row[at] for at in used) for row in (names, *rows)]
        logger.log(ALERT, "%s", "\n".join([f"Metrion: {question} since {since}", *_aligned(rows), *answer.notes]))


def _aligned(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    cells = [["-" if value is None else _cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: object) -> str:
    return dollars(value) if isinstance(value, float | Decimal) else str(value)
