"""The fast road: plain HTTP/1.1 requests by path, on asyncio protocols, to pooled connections of providers."""
