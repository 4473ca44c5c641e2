"""What ``mitmdump -s addon/metrion_addon.py`` loads: builds the addon, nothing else."""

import sys

from metrion.control import ControlError
from metrion.pricing import PricingError
from metrion.proxy.addon import MetrionAddon
from metrion.settings import SettingsError, load_settings

try:
    addons = [MetrionAddon(load_settings())]
except (SettingsError, ControlError, PricingError) as error:
    # mitmproxy would go on without a script that fails to load, and so let everything through.
    sys.stderr.write(f"Error: {error}\n")
    sys.stderr.flush()
    raise SystemExit(1) from None
