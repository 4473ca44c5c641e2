"""The fast road of ``metrion serve``: plain HTTP/1.1 on asyncio protocols.

``http1`` reads messages out of bytes, ``connect`` opens connections to providers and ``pool`` keeps them, ``loop`` is
what all of it runs on.
"""
