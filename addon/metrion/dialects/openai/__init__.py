"""OpenAI's wire formats, which many others speak."""
