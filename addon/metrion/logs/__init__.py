"""What a running proxy writes for the person who operates it: notices, the access log and decisions. Never a secret.

``notices`` decides what is worth a line, and ``remembered`` keeps what was said already, for all workers together.
``decisions`` and ``access`` word a request for the debug level and for the access log, ``visible`` masks what they
quote. ``request_log`` is the thin shell that writes all of it with :mod:`logging`, and ``output`` is where that goes.
"""
