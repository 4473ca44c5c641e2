"""What one process of the proxy knows, decides and remembers, whichever road its requests take.

``gateway`` decides and records, ``board`` shares a few figures between processes, ``estimating`` makes estimates beside
the event loop, ``ingestion`` keeps the ingester alive. No HTTP, and no mitmproxy.
"""
