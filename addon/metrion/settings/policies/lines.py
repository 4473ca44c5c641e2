"""Where something stands in a file of YAML: the text and the keys that lead there in, the number of its line out."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line of the last of these keys that is there."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for key in keys:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in entries if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
