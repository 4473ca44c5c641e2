"""What ``mitmdump -s addon/metrion_addon.py`` loads: builds the addon, nothing else."""

import sys

from metrion.errors import MetrionError
from metrion.proxy.addon import MetrionAddon
from metrion.settings import load_settings

try:
    addons = [MetrionAddon(load_settings())]
except MetrionError as error:
    # mitmproxy would go on without a script that fails to load, and so let everything through.
    sys.stderr.write(f"Error: {error}\n")
    sys.stderr.flush()
    raise SystemExit(1) from None
