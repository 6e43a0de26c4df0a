"""python -m vla_nav: the same as the command vla_nav."""

import sys

from vla_nav.cli import main

if __name__ == '__main__':
    sys.exit(main())
