"""``record``: a dataclass that is frozen for the type checker only, for values that every request makes anew.

To freeze a dataclass at run time as well makes it three times as slow to make. A record has no hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, **options: Any) -> Any:  # noqa: ARG001 -- the type checker holds it
        """Decorate a class; the options are those of ``dataclass``."""
        return dataclass(**options)


__all__ = ["record"]
