"""A package, because `site-packages/tests` of some dependency would otherwise take the name."""
