"""What one process of the proxy knows, decides and remembers, whichever road its requests take.

``gateway`` decides and records, ``scoreboard`` shares a few figures between processes, ``estimator`` makes estimates
beside the event loop, ``ingestion`` keeps the ingester alive. No HTTP, and no mitmproxy.
"""
