"""What ``metrion run`` needs: a child's environment, the proxy it calls, and the child itself with its signals."""
