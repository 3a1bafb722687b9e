"""Write ``docs/sizing.md`` from the recipes."""

from recipes.sizing.documented import ROOT, documented_runs
from recipes.sizing.page import make_page

if __name__ == "__main__":
    (ROOT / "docs/sizing.md").write_text(make_page(documented_runs()))
