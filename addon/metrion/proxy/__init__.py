"""The mitmproxy shell: the only room that knows mitmproxy.

``addon`` is the hook class that plugs Metrion into any mitmproxy, ``inner`` the small one behind ``metrion serve``.
``layers`` and ``stream`` run in place of mitmproxy's own: a stream gives the relay what happens (``inbound``) and
carries out its effects (``messages``, ``flows``, ``hooks``). ``switching`` is what becomes of a CONNECT (``tunnels``)
and of an upgrade (``websocket``). ``http1`` puts the lane's reader under mitmproxy's connections, ``http2`` lets theirs
refuse a CONNECT, and ``connections`` is what mitmproxy knows of them. ``authority`` makes the certificate
authority, and ``logs`` keeps credentials out of the log.
"""
