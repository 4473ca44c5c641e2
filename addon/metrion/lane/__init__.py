"""The fast road of ``metrion serve``: plain HTTP/1.1 requests by path, on asyncio protocols.

``http1`` and ``body`` read messages out of bytes, ``wire`` and ``outgoing`` write them. ``accepting`` lets clients in.
``client`` and ``upstream`` are the connections on both sides of the relay: ``next_head`` is what a client has sent of
its next request, ``unreadable`` the end of a connection whose head cannot be read, ``sender`` the way of requests to
providers. ``connect`` opens connections to providers and ``pool`` keeps them. ``brake`` stops the reading of a
connection, ``turn`` bounds how long one is read at a time, ``deadline`` calls back, ``half_closed`` finds out who is
gone. ``lane`` is what all connections of a worker share, ``loop`` what they run on.
"""
