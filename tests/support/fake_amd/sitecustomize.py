"""Ray believes that this machine has ``FAKE_AMD_GPUS`` AMD GPUs; everything else is Ray's own code.

Python imports a module of this name in every process that has its folder on the path, so Ray's workers too.
"""

import importlib.abc
import importlib.machinery
import os
import sys

MODULE = "ray._private.accelerators.amd_gpu"
COUNTED = "        return num_gpus\n"


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        source = self.get_data(self.path).decode()
        assert source.count(COUNTED) == 1, "Ray counts its AMD GPUs in another way now"
        source = source.replace(COUNTED, "        return int(os.environ['FAKE_AMD_GPUS'])\n")
        return self.source_to_code(source.encode(), self.path)


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        spec.loader = Loader(fullname, spec.origin)
        return spec


if os.environ.get("FAKE_AMD_GPUS"):
    sys.meta_path.insert(0, Finder())
