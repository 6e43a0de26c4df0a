"""Drive nodes one after the other in one process, which imports torch only once.

Each line on stdin holds the arguments of the next node's main, as JSON.
"""

import json
import sys

from vla_nav.nodes.drive import main

for line in sys.stdin:
    print(f'ended with code {main(json.loads(line))}', flush=True)
