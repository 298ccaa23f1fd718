#!/usr/bin/env python3
"""The table of layers/README.md against what the registry says: layer_table.py STRAND [--write]"""

import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).resolve().parent.parent / "layers/README.md"
TABLE = re.compile(r"(<!-- strand layers --markdown -->\n)(.*)(<!-- end -->\n)", re.DOTALL)

table = subprocess.run([sys.argv[1], "layers", "--markdown"], check=True, capture_output=True, text=True).stdout
text = README.read_text()
found = TABLE.search(text)
if not found:
    sys.exit(f"{README}: no table")
if "--write" in sys.argv:
    README.write_text(text[:found.start(2)] + table + text[found.end(2):])
elif found[2] != table:
    stale = sorted(set(found[2].splitlines()) ^ set(table.splitlines()))
    sys.exit("layers/README.md is not what `strand layers --markdown` prints:\n" + "\n".join(stale) +
             f"\nwrite it anew: python3 tests/layer_table.py {sys.argv[1]} --write")
