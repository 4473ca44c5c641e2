"""How pricing.yaml is made and checked: run by scripts/update-pricing, and no part of Metrion itself."""
