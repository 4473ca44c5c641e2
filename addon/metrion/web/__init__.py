"""The dashboard: pages over everything metered, for whoever has an admin token.

In: a home's settings, and requests of a browser. Out: HTML, SVG, CSV and JSON, made here; no page needs JavaScript, and
none loads anything from another host. :func:`create_app` makes the ASGI application, :func:`~metrion.web.run.run`
serves it. Never: a key or a token in a page after it was made, an answer to a foreign ``Host``, a change by a GET.
"""

from __future__ import annotations

from metrion.web.app import create_app

__all__ = ["create_app"]
