"""The words of a message: a rule and its figure in; a title, sentences and the forms of the channels out. Pure.

Labels and names of models come from strangers: they are cut, lose what controls a terminal or a header, and are escaped
for Slack, so that nobody is pinged. No message holds a token, a key or the target of a channel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from metrion.alerts.decisions import Figure
from metrion.alerts.measures import MEASURES
from metrion.alerts.spans import worded
from metrion.control.alert_records import AlertRule
from metrion.logs.visible import visible

_LONGEST_NAME = 64
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Marks that change the direction of a text, or cannot be seen."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Somebody who leads in a measure."""

    names: tuple[tuple[str, str], ...]
    """What it is, and its name: ``("user", "ann")``."""
    value: Decimal


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, whatever the channel."""

    title: str
    text: str
    facts: Mapping[str, object]
    """The same for programs."""

    def as_json(self) -> str:
        """Write it as the history keeps it."""
        return json.dumps({"title": self.title, "text": self.text, **self.facts}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Message:
        """Read what :meth:`as_json` wrote."""
        facts = json.loads(text)
        return cls(facts.pop("title"), facts.pop("text"), facts)


def compose(
    rule: AlertRule, kind: str, figure: Figure, leaders: Sequence[Leader], zone: tzinfo, now: datetime
) -> Message:
    """Say what a rule has found."""
    terms, measure = rule.terms, MEASURES[rule.terms.measure]
    value = figure.value or Decimal(0)
    percent = int(100 * value / terms.limit)
    span = worded(terms.span, figure.since, zone)
    chosen = "".join(f", {name} {shown(text)}" for name, text in terms.filters.items())
    reached = f"{amount(value, measure.unit)}, {percent} % of {amount(terms.limit, measure.unit)}"
    title = f"Metrion {kind}: {rule.name}: {reached}"
    if terms.measure == "silence":
        sentences = [_silence(rule, figure, zone, chosen)]
    else:
        sentences = [f"{measure.what}{chosen} {span} is {reached}, the limit of the rule {rule.name}."]
    if figure.of is not None:
        sentences.append(f"It is of {figure.of:,} {'responses' if measure.unit == 'ms' else 'requests'}.")
    if figure.usd is not None:
        sentences.append("That is {} of {}.".format(*(amount(each, "usd") for each in figure.usd)))
    if figure.without_cost:
        floor = f"; they cost at least {amount(figure.at_least, 'usd')}" if figure.at_least else ""
        sentences.append(f"Not in it are {figure.without_cost:,} responses whose cost is not known{floor}.")
    if leaders:
        sentences.append(f"Most is of {'; '.join(_leader(each, terms.measure) for each in leaders)}.")
    sentences.append(f"What to do: {measure.way_out}. `metrion alert list` shows the rule.")
    facts = {
        "kind": kind,
        "rule": rule.name,
        "measure": terms.measure,
        "unit": measure.unit,
        "value": str(value),
        "limit": str(terms.limit),
        "percent": percent,
        "span": terms.span,
        "since": _iso(figure.since),
        "until": _iso(now),
        "filters": {name: shown(text) for name, text in terms.filters.items()},
        "of": figure.of,
        "without_cost": figure.without_cost if measure.unpriced else None,
        "top": [{**dict(each.names), "value": str(each.value)} for each in leaders],
    }
    return Message(title, "\n".join(sentences), facts)


def trial(rule: AlertRule, now: datetime) -> Message:
    """Say that a channel works."""
    text = (
        f"This is a test of the rule {rule.name}. Its messages arrive here.\n"
        "What to do: nothing. `metrion alert list` shows the rule."
    )
    facts = {"kind": "test", "rule": rule.name, "measure": rule.terms.measure, "until": _iso(now)}
    return Message(f"Metrion test: {rule.name}", text, facts)


def as_webhook(message: Message) -> bytes:
    """Return the body for a webhook: one JSON object."""
    return message.as_json().encode()


def as_slack(message: Message) -> bytes:
    """Return the body for Slack: nothing in it is markup, a link or a mention."""
    text = f"{message.title}\n{message.text}"
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(plain, escaped)
    text = text.replace("@", "@\u200b")
    form = {"text": text, "mrkdwn": False, "link_names": False, "unfurl_links": False, "unfurl_media": False}
    return json.dumps(form).encode()


def as_email(message: Message, sender: str, recipient: str, now: datetime) -> EmailMessage:
    """Return the e-mail: text alone. Nothing of a label can begin a header or end one."""
    mail = EmailMessage(SMTP)
    mail["Subject"] = shown(message.title, longest=150)
    mail["From"] = Address("Metrion", addr_spec=sender)
    mail["To"] = Address(addr_spec=recipient)
    mail["Date"] = format_datetime(now.astimezone(UTC))
    mail["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text + "\n")
    return mail


def amount(value: Decimal | None, unit: str) -> str:
    """Write an amount with its unit."""
    value = Decimal(0) if value is None else value
    match unit:
        case "usd":
            places = 2 if value >= 1 or not value else min(3 - value.adjusted(), 12)
            return f"${value:,.{places}f}"
        case "percent":
            return f"{value.quantize(Decimal('0.1')):f} %".replace(".0 %", " %")
        case "ms":
            return f"{value:,.0f} ms"
        case "days":
            return f"{value.quantize(Decimal('0.1')):f} days".replace(".0 days", " days")
        case _:
            return f"{value:,.0f} {unit}"


def shown(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return what may be shown of a text that a stranger chose: one line, without anything secret or invisible."""
    return visible(_INVISIBLE.sub("", text), longest=longest)


def _leader(leader: Leader, measure: str) -> str:
    unit = "responses" if measure in ("errors", "requests") else MEASURES[measure].unit
    names = ", ".join(f"{what} {name}" for what, name in leader.names)
    return f"{names or 'requests without a label'} ({amount(leader.value, unit)})"


def _silence(rule: AlertRule, figure: Figure, zone: tzinfo, chosen: str) -> str:
    waited = amount(figure.value, "days")
    since = f"{figure.since.astimezone(zone):%Y-%m-%d %H:%M %Z}"
    said = (
        f"Nothing{chosen} has been taken into the store for {waited} (since {since}); the rule {rule.name} has "
        f"{amount(rule.terms.limit, 'days')} as its limit."
    )
    if figure.waiting:
        return (
            f"{said} {figure.waiting:,} segments of the journal wait to be ingested: the ingester does not work, and "
            "reports become slow. No event is lost."
        )
    return f"{said} {'No request has ever come.' if figure.last is None else 'No request has come since.'}"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
