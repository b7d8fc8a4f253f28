"""Makes the fakes of the actors and of the doors importable."""

import sys
from pathlib import Path

for room in ("actors", "doors"):
    sys.path.append(str(Path(__file__).parent.parent / room))
