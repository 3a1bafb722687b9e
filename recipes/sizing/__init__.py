"""``docs/sizing.md``: what `rrm-reward size` says of the recipes that point there. ``python -m recipes.sizing``."""
