"""The fast road of ``metrion serve``: plain HTTP/1.1 requests by path, on asyncio protocols.

``http1`` reads messages out of bytes and ``wire`` writes them, ``client`` and ``upstream`` are the connections on both
sides of the relay, ``connect`` opens those to providers and ``pool`` keeps them, ``loop`` is what all of it runs on.
"""
