"""Settings of all tests."""

import os

from hypothesis import settings

# A loaded machine is slow, which says nothing about the code; and CI looks at the same examples every time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
