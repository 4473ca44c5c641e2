"""The mitmproxy shell: the only room that knows mitmproxy.

``addon`` is the hook class that plugs Metrion into any mitmproxy, ``inner`` the small one behind ``metrion serve``.
``layers`` and ``stream`` run in place of mitmproxy's own: a stream gives the relay what happens (``inbound``,
``websocket``) and carries out its effects (``messages``, ``flows``, ``hooks``). ``switching`` has the requests after
which a connection is no HTTP any more, ``tunnels`` those to hosts that are no provider's. ``admissions`` knows which
flows were let through; with it ``replay`` makes a new request of a replayed flow, and ``playback`` has mitmproxy do so.
``http1`` and ``heads`` put the lane's reader under mitmproxy's connections, ``http2`` completes those of HTTP/2,
``connections`` is what mitmproxy knows of them, and ``pacing`` bounds how much is read of one. ``authority`` makes the
certificate authority, and ``logs`` keeps credentials out of the log and out of what flows say of a failure.
"""
