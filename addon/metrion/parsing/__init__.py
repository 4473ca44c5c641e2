"""Bytes → values, piece by piece: content codings, events, JSON and multipart, with a bound on their work."""
