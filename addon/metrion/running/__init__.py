"""What ``metrion run`` needs: a child's environment, the proxy it calls, and the child itself with its signals."""

TOKEN_PREFIX = "run-"  # noqa: S105 -- how names begin, no token
"""How the names of tokens begin that were made for a run."""
