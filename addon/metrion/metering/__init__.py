"""Reads beside a request and its answer what they say, and makes the event of it."""
