"""``policies:`` of metrion.yaml → frozen policies that do not contradict each other, or an error that names the lines.

``values`` is what the rest of Metrion reads, ``kinds`` the table of what a policy can ask for, ``members`` that of the
members of bodies that have defaults and caps. ``reading`` makes the policies, ``checks`` finds what cannot be meant,
and ``lines`` where it stands.
"""

from __future__ import annotations

from metrion.settings.policies.values import Asked, Policy, Scope, is_below

__all__ = ["Asked", "Policy", "Scope", "is_below"]
