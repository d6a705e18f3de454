"""`python -m unblur`: the command line without the script."""

import sys

from unblur.cli import main

if __name__ == "__main__":
    sys.exit(main())
