"""The fuzzer's modules stand beside its tests, for it is a program as well."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
