"""`python -m promptseg`."""

import sys

from promptseg.cli.main import main

sys.exit(main())
