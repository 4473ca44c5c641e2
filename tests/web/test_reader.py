"""The reader of the pages: what is asked again, and what is not."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from metrion.web.reader import Reader, View
from tests.processes import eventually
from tests.store.events import Home, event


class Watched(Reader):
    """Counts how often somebody looked for an answer that is there already."""

    looks = 0

    def _kept(self, key: Hashable, asked_at: float) -> Any:
        self.looks += 1
        return super()._kept(key, asked_at)


def test_what_several_ask_at_once_is_asked_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.initialise()
    home.record(event(), event())
    reader = Watched(home.journal_dir, home.store_path)
    asked, may_end = list[str](), threading.Event()

    def question(view: View) -> Any:
        asked.append("whole")
        may_end.wait(60)
        return view.rows("SELECT sum(responses) FROM sums_by_day_and_model")

    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(reader.ask("whole", question)), daemon=True) for _ in range(4)
    ]
    threads[0].start()
    eventually(lambda: asked)
    for thread in threads[1:]:
        thread.start()
    eventually(lambda: reader.looks == 2 + 3)  # the first has looked again when its turn came
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert asked == ["whole"]
    assert answers == [[(2,)]] * 4
    assert reader.ask("another", lambda view: view.rows("SELECT count(*) FROM events")) == [(2,)]
