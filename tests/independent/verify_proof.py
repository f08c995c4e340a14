#!/usr/bin/env python3
"""Follows one proof of `belay log proof -o DIR` with nothing but Python's standard library: RFC 9162, section 2.1.3.2.

    verify_proof.py N.json N.proof

N.json is an entry's exact bytes, N.proof a C2SP tlog-proof: the entry's place, the hashes up to the root, the signed head.
Exit 0 and one line when the entry is in that log; exit 1 when it is not. Whose head it is, verify_log.py checks.
"""

import base64
import hashlib
import sys

proof, head = open(sys.argv[2], encoding="utf-8").read().split("\n\n", 1)
lines, note = proof.split("\n"), head.split("\n")
assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[1].startswith("index "), "it is no proof"
index, path = int(lines[1].split()[1]), [base64.b64decode(line) for line in lines[2:]]
size, root = int(note[1]), base64.b64decode(note[2])
reached = hashlib.sha256(b"\0" + open(sys.argv[1], "rb").read()).digest()
fn, sn = index, size - 1
for sibling in path:
    if fn & 1 or fn == sn:
        reached = hashlib.sha256(b"\1" + sibling + reached).digest()
        while not fn & 1 and fn:
            fn, sn = fn >> 1, sn >> 1
    else:
        reached = hashlib.sha256(b"\1" + reached + sibling).digest()
    fn, sn = fn >> 1, sn >> 1
if reached != root or sn != 0 or not 0 <= index < size:
    sys.exit("it is not in the log")
print(f"entry {index} is one of the {size} of {note[0]}")
