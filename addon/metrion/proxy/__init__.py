"""The mitmproxy shell: the only room that knows mitmproxy.

``gateway`` decides and remembers without it, ``layers`` carries decisions out on the wire, ``addon`` is the hook class
that plugs both into any mitmproxy, ``runner`` is the small mitmproxy behind ``metrion serve``.
"""
