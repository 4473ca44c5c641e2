"""Google's native wire formats."""
