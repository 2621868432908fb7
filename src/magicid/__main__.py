"""`python -m magicid`."""

import sys

from magicid.cli import main

sys.exit(main())
