"""Put the folder of these tests on the path, for the package of broken plugins."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
