"""xAI's own wire formats."""
