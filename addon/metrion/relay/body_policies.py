"""What policies change in the body of a request: aliases of models, defaults and caps. No I/O; bytes in, bytes out.

:func:`changed` puts values in their places and leaves every other byte as it came: the order of members, spaces,
digits, escapes. A body that not every reader takes for the same is not changed: the event says why.
:class:`metrion.relay.rewrites.AppliedPolicies` applies it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from metrion.model.policies import Alias, MemberSetting, Policies, Scalar
from metrion.parsing.json_members import Object, UnreadableError, items, read_body, read_object, spliced
from metrion.settings.policies.members import MEMBERS

type _Splice = tuple[int, int, bytes]
type _Tree = dict[str, Scalar | _Tree]
"""Members that are missing from an object, and those that are missing from the objects in it."""

_CAPITAL = re.compile(r"[A-Z]")
_LONGEST_NUMBER = 20
_COLLECTION = "models/"
"""What Google's APIs write before the name of a model."""


class Changed(NamedTuple):
    """A body as it goes out, and what each policy did."""

    body: bytes
    notes: tuple[tuple[str, str], ...]
    """By the policy's name; none: the body is as it was."""
    model: str | None = None
    """What an alias stands for that was there."""


def changed(body: bytes, policies: Policies) -> Changed:
    """Return the JSON body of a request as policies want it.

    :raises UnreadableError: it is not changed, because not every reader would take it for the same.
    """
    text, request = read_body(body)
    edit = _Edit(body, text, request)
    model = edit.alias(policies.aliases) if policies.aliases else None
    if policies.renamed is not None:
        edit.rename(*policies.renamed)
    for setting in policies.sets:
        edit.set(setting)
    for cap in policies.caps:
        edit.cap(cap)
    for default in policies.defaults:
        edit.default(default)
    splices = edit.splices()
    return Changed(spliced(body, splices) if splices else body, tuple(edit.notes), model)


def asked_alias(body: bytes, aliases: Mapping[str, Alias]) -> tuple[str, Alias] | None:
    """Return the alias that a body asks for, and what it stands for.

    :raises UnreadableError: as :func:`changed` does.
    """
    text, request = read_body(body)
    asked = _Edit(body, text, request).asked()
    return (asked, aliases[asked]) if asked is not None and asked in aliases else None


def named_policies(policies: Policies) -> Iterable[str]:
    """Return the names of those that would change a body."""
    settings = (*policies.sets, *policies.defaults, *policies.caps)
    aliases = (*policies.aliases.values(), *((policies.renamed[1],) if policies.renamed is not None else ()))
    return dict.fromkeys((*(alias.policy for alias in aliases), *(each.policy for each in settings)))


class _Edit:
    """A body that is looked at, and what is to be put where."""

    __slots__ = ("_body", "_missing", "_objects", "_put", "_request", "_spans", "_text", "notes")

    def __init__(self, body: bytes, text: str, request: Object) -> None:
        self.notes: list[tuple[str, str]] = []
        self._body = body
        self._text = text
        self._request = request
        self._objects: dict[tuple[str, ...], Object | None] = {(): request}
        """Those that were looked at, by the names that lead there; ``None``: it is not there, or null."""
        self._spans: list[_Splice] = []
        self._missing: _Tree = {}
        self._put = set[str]()

    def asked(self) -> str | None:
        """Return the model that the body asks for."""
        return self._model_of(self._request)

    def alias(self, aliases: Mapping[str, Alias]) -> str | None:
        """Put the model in the place of its alias; return it."""
        alias = aliases.get(asked) if (asked := self.asked()) is not None else None
        if asked is None or alias is None:
            return None
        _, start, end = self._request.places["model"]
        self._spans.append((start, end, _encoded(alias.model)))
        self.notes.append((alias.policy, f"alias: {asked} → {alias.model}"))
        return alias.model

    def rename(self, name: str, alias: Alias) -> None:
        """Put the model in the place of its alias where Google's APIs name it beside the path."""
        for within in self._naming():
            asked = self._model_of(within)
            if asked in (name, _COLLECTION + name):
                _, start, end = within.places["model"]
                prefix = _COLLECTION if asked != name else ""
                self._spans.append((start, end, _encoded(prefix + alias.model)))

    def _naming(self) -> Iterable[Object]:
        """Give the objects in a body that may name the model of the path."""
        yield self._request
        if (within := self._object(("generateContentRequest",))) is not None:
            yield within
        found = self._find(("requests",))
        for at in items(self._text, found[1][1]) if found is not None and isinstance(found[0], list) else ():
            if self._text[at] == "{":
                yield read_object(self._text, at)

    def _model_of(self, within: Object) -> str | None:
        model = within.members.get("model")
        if not isinstance(model, str) or model.isascii():
            return model if isinstance(model, str) else None
        _, start, end = within.places["model"]
        return str(json.loads(self._body[start:end]))

    def set(self, setting: MemberSetting) -> None:
        """Put a value in, whatever the body has there."""
        place = self._request.places.get(setting.member)
        if place is None:
            self._missing[setting.member] = setting.value
        elif self._request.members[setting.member] == setting.value:
            return
        else:
            self._spans.append((*place[1:], _encoded(setting.value)))
        self._put.add(setting.member)
        self.notes.append((setting.policy, setting.words or f"{setting.member} {_shown(setting.value)}"))

    def cap(self, cap: MemberSetting) -> None:
        """Lower a number that is higher; what is no number cannot be known to be lower."""
        found = self._find(_names(cap.member))
        if found is None:
            return
        held, (_, start, end) = found
        is_number = isinstance(held, int | float) and not isinstance(held, bool)
        if held is None or (is_number and held <= cap.value):
            return
        self._spans.append((start, end, _encoded(cap.value)))
        before = self._text[start:end] if is_number and end - start <= _LONGEST_NUMBER else "…"
        self.notes.append((cap.policy, f"cap: {cap.member} {before} → {_shown(cap.value)}"))

    def default(self, default: MemberSetting) -> None:
        """Put a value in where the body has none."""
        same = MEMBERS[default.member].same_as or (default.member,)
        if not self._put.isdisjoint(same) or any(self._has(each) for each in same if each != default.member):
            return
        names = _names(default.member)
        found = self._find(names)
        if found is not None and found[0] is not None:
            return
        if found is not None:
            _, (_, start, end) = found
            self._spans.append((start, end, _encoded(default.value)))
        elif not self._miss(names, default.value):
            return
        self._put.add(default.member)
        self.notes.append((default.policy, f"default: {default.member} {_shown(default.value)}"))

    def splices(self) -> list[_Splice]:
        """Return what is to be put where."""
        return [*self._spans, *self._fill((), self._missing)] if self._missing else self._spans

    def _has(self, member: str) -> bool:
        found = self._find(_names(member))
        return found is not None and found[0] is not None

    def _find(self, names: tuple[str, ...]) -> tuple[Any, tuple[int, int, int]] | None:
        """Return the value and the place of a member; ``None``: it is not there."""
        within = self._object(names[:-1])
        name = _spelled(within, names[-1]) if within is not None else None
        return None if within is None or name is None else (within.members[name], within.places[name])

    def _object(self, names: tuple[str, ...]) -> Object | None:
        """Return the object to which names lead; ``None``: there is none, or null."""
        if names not in self._objects:
            found = self._find(names)
            is_there = found is not None and isinstance(found[0], dict)
            self._objects[names] = read_object(self._text, found[1][1]) if found is not None and is_there else None
        return self._objects[names]

    def _miss(self, names: tuple[str, ...], value: Scalar) -> bool:
        """Note that a member is missing; return whether there is a place for it."""
        tree = self._missing
        for depth in range(1, len(names)):
            found = self._find(names[:depth])
            if found is not None and found[0] is not None and not isinstance(found[0], dict):
                return False
            inner = tree.setdefault(names[depth - 1], {})
            if not isinstance(inner, dict):
                return False
            tree = inner
        tree[names[-1]] = value
        return True

    def _fill(self, names: tuple[str, ...], missing: _Tree) -> list[_Splice]:
        """Return what is to be put into an object that is there."""
        within = self._object(names)
        if within is None or not missing:
            return []
        splices: list[_Splice] = []
        behind: list[bytes] = []
        for name, value in missing.items():
            inner = (*names, name)
            if isinstance(value, dict) and self._object(inner) is not None:
                splices += self._fill(inner, value)
            elif (found := self._find(inner)) is not None:  # it is null
                splices.append((*found[1][1:], _tree(value)))
            else:
                behind.append(_encoded(name) + b":" + _tree(value))
        if behind:
            comma = b"," if within.places else b""
            splices.append((within.behind, within.behind, comma + b",".join(behind)))
        return splices


def _spelled(within: Object, name: str) -> str | None:
    """Return how an object spells a name: Google's APIs take it in either way.

    :raises UnreadableError: in both.
    """
    other = _in_snake_case(name)
    if name in within.members:
        if other != name and other in within.members:
            raise UnreadableError("has a member twice")
        return name
    return other if other in within.members else None


@lru_cache
def _in_snake_case(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name)


@lru_cache
def _names(member: str) -> tuple[str, ...]:
    return tuple(member.split("."))


@lru_cache(maxsize=256, typed=True)
def _encoded(value: Scalar) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _tree(value: Scalar | _Tree) -> bytes:
    if not isinstance(value, dict):
        return _encoded(value)
    return b"{" + b",".join(_encoded(name) + b":" + _tree(inner) for name, inner in value.items()) + b"}"


def _shown(value: Scalar) -> str:
    return _encoded(value).decode() if not isinstance(value, str) else value
