"""``python -m metrion`` is the command ``metrion``."""

from metrion.cli import main

main()
