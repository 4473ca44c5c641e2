"""What is behind ``metrion serve``: the port, its supervisor, and the workers that serve on it."""
