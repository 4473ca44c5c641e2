"""Credentials that several tests send: none of them opens anything."""

from __future__ import annotations

PROVIDER_KEY = "sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
"""A key that an account stores."""
OWN_KEY = "sk-proj-the-callers-own-key-0123456789"
"""A key that a caller sends itself."""
UNKNOWN, OTHER = "sk-metrion-" + "x" * 43, "sk-metrion-" + "y" * 43
"""Tokens that nobody has made."""
