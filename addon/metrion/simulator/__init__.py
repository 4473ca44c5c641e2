"""The simulated providers: a server that speaks the real wire formats."""
