#!/usr/bin/env python3
"""Verifies an exported Belay log with nothing but Python's standard library.

Written from the texts alone, so that nobody has to believe Belay's own verifier (P8): C2SP tlog-tiles,
tlog-checkpoint and signed-note, RFC 6962 section 2.1 for the tree, RFC 8032 section 5.1 for Ed25519.

    verify_log.py EXPORT VKEY [--origin ORIGIN] [--since OLD_CHECKPOINT]

EXPORT is a directory or a .tar with `checkpoint`, `log.vkey`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]` and
`objects/<sha256 in hex>`. VKEY is the log's key as text, taken from the policy you trust and never from the export.
OLD_CHECKPOINT is a file you kept from an earlier time: the log must still begin with what it signed.

Exit 0 and one line when all of it holds; exit 1 and one line that names the broken piece; exit 2 for a wrong call.
What it does not read: what the entries say, and the devices' signatures inside them.
"""

import argparse
import base64
import binascii
import hashlib
import os
import re
import sys
import tarfile

TILE = 256  # hashes in a full tile, entries in a full bundle
HASH = 32  # bytes of SHA-256
NOTE_MAX = 1_000_000  # bytes of a signed note; witnesses' signatures fit many times over
LEVELS = range(8)  # 256**8 leaves are more than a tree size can say


class Broken(Exception):
    """The export is not what its key signed. The message names the piece."""


# Ed25519, RFC 8032 section 5.1: points of the twisted Edwards curve in extended coordinates (X, Y, Z, T).

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def point_add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_mul(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        scalar >>= 1
    return result


def recover_x(y, sign):
    """The x of a point on the curve with this y and this lowest bit of x; None when there is none."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P:
        return None
    return P - x if x & 1 != sign else x


def point_decode(data):
    number = int.from_bytes(data, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def point_encode(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)


def ed25519_valid(key, message, signature):
    """RFC 8032 section 5.1.7, without the cofactor: R is exactly [S]B - [k]A."""
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r, s = point_decode(key), signature[:32], int.from_bytes(signature[32:], "little")
    if a is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % ORDER
    minus_a = (P - a[0], a[1], a[2], P - a[3])
    return point_encode(point_add(point_mul(s, BASE), point_mul(k, minus_a))) == r


# Signed notes and checkpoints.


def decode_base64(text):
    """Standard base64 in its one canonical spelling; None for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def name_is_legal(name):
    return name != "" and "+" not in name and not any(c.isspace() or c < " " for c in name)


def parse_vkey(text):
    """Name, key id and public key of `NAME+ID+BASE64`."""
    match = re.fullmatch(r"([^+]+)\+([0-9a-f]{8})\+(.+)", text)
    data = decode_base64(match[3]) if match else None
    if data is None or not name_is_legal(match[1]):
        raise Broken("vkey: it reads NAME+ID+BASE64")
    name, key_id = match[1], match[2]
    if len(data) != 33 or data[0] != 1:
        raise Broken("vkey: not an Ed25519 key")
    expected = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if expected.hex() != key_id:
        raise Broken("vkey: the key id does not belong to this name and key")
    return name, expected, data[1:]


def open_note(note, vkey, what):
    """The text of a note that the key signed; other keys' signatures are ignored."""
    name, key_id, key = vkey
    if len(note) > NOTE_MAX:
        raise Broken(f"{what}: larger than {NOTE_MAX} bytes")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise Broken(f"{what}: not UTF-8") from None
    if any(c < " " and c != "\n" for c in decoded):
        raise Broken(f"{what}: has a control character")
    text, blank, signatures = decoded.rpartition("\n\n")
    if not blank or not signatures.endswith("\n"):
        raise Broken(f"{what}: not a signed note")
    text += "\n"
    signed = False
    for line in signatures[:-1].split("\n"):
        match = re.fullmatch("— ([^ ]+) ([^ ]+)", line)
        data = decode_base64(match[2]) if match else None
        if data is None or len(data) < 5 or not name_is_legal(match[1]):
            raise Broken(f"{what}: {line!r} is not a signature line")
        if (match[1], data[:4]) == (name, key_id):
            if not ed25519_valid(key, text.encode(), data[4:]):
                raise Broken(f"{what}: the signature by {name} is wrong")
            signed = True
    if not signed:
        raise Broken(f"{what}: not signed by the given key of {name}")
    return text


def parse_checkpoint(text, origin, what):
    """Tree size and root."""
    lines = text[:-1].split("\n")
    if len(lines) < 3 or "" in lines:
        raise Broken(f"{what}: not origin, size and root in three lines")
    if lines[0] != origin:
        raise Broken(f"{what}: of the log {lines[0]!r}, not of {origin!r}")
    root = decode_base64(lines[2])
    if not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]) or root is None or len(root) != HASH:
        raise Broken(f"{what}: size or root is malformed")
    return int(lines[1]), root


# The tree.


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(leaves):
    """MTH of RFC 6962: complete subtrees are joined as they appear, the rest from the right at the end."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    stack = []  # (leaves below, hash)
    for leaf in leaves:
        weight, node = 1, leaf
        while stack and stack[-1][0] == weight:
            node = node_hash(stack.pop()[1], node)
            weight *= 2
        stack.append((weight, node))
    node = stack.pop()[1]
    while stack:
        node = node_hash(stack.pop()[1], node)
    return node


def place(index, width):
    """`x001/x234/067`, and `.p/<W>` behind it for a partial one."""
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts) + (f".p/{width}" if width < TILE else "")


PLACE = re.compile(r"((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def parse_place(text):
    """Index and width; None unless spelled canonically."""
    match = PLACE.fullmatch(text)
    if not match:
        return None
    index, width = int(match[1].replace("/", "").replace("x", "")), int(match[2] or TILE)
    return (index, width) if place(index, width) == text else None


def pieces(count):
    """Index and width of every tile that `count` hashes fill."""
    return [(start // TILE, min(TILE, count - start)) for start in range(0, count, TILE)]


# The export.


class Directory:
    def __init__(self, root):
        self.root = root
        self.names = set()
        for folder, _, files in os.walk(root):
            for file in files:
                self.names.add(os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/"))

    def read(self, name):
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path, "r:")
        self.members = {}
        for member in self.tar:
            name = os.path.normpath(member.name)
            if member.isdir():
                continue
            if not member.isfile():
                raise Broken(f"{name}: not a plain file")
            if name in self.members:
                raise Broken(f"{name}: twice in the archive")
            self.members[name] = member
        self.names = set(self.members)

    def read(self, name):
        return self.tar.extractfile(self.members[name]).read()


def required(export, name):
    if name not in export.names:
        raise Broken(f"{name}: missing")
    return export.read(name)


def split_bundle(data, name):
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise Broken(f"{name}: ends inside entry {len(entries)}")
        entries.append(data[at + 2 : end])
        at = end
    return entries


def read_leaves(export, size):
    """The leaf hash of every entry."""
    leaves = []
    for index, width in pieces(size):
        name = "tile/entries/" + place(index, width)
        entries = split_bundle(required(export, name), name)
        if len(entries) != width:
            raise Broken(f"{name}: holds {len(entries)} entries and must hold {width}")
        leaves += map(leaf_hash, entries)
    return leaves


def tile_levels(leaves):
    """All hashes of every tile level."""
    levels, hashes = [], leaves
    for _ in LEVELS:
        levels.append(hashes)
        full = range(0, len(hashes) - TILE + 1, TILE)
        hashes = [tree_root(hashes[start : start + TILE]) for start in full]
    return levels


def check_tile(export, level, index, width, hashes):
    name = f"tile/{level}/{place(index, width)}"
    data = required(export, name)
    if len(data) != width * HASH:
        raise Broken(f"{name}: has {len(data)} bytes and must have {width * HASH}")
    for number in range(width):
        if data[number * HASH : (number + 1) * HASH] != hashes[index * TILE + number]:
            raise Broken(f"{name}: hash {number} is not what the entries hash to")
    return name


def check_tiles(export, levels):
    """Every tile of the tree; the number of them."""
    return len({
        check_tile(export, level, index, width, hashes)
        for level, hashes in enumerate(levels)
        for index, width in pieces(len(hashes))
    })


def check_strays(export, levels):
    """Partial tiles and bundles of earlier sizes may stay beside the later ones; nothing else may."""
    for name in sorted(n for n in export.names if n.startswith("tile/")):
        kind, _, rest = name[len("tile/") :].partition("/")
        found = parse_place(rest)
        level = 0 if kind == "entries" else int(kind) if re.fullmatch("[0-7]", kind) else None
        if found is None or level is None or found[0] * TILE + found[1] > len(levels[level]):
            raise Broken(f"{name}: not part of the tree that the checkpoint signs")
        index, width = found
        if kind != "entries":
            check_tile(export, level, index, width, levels[level])
            continue
        hashes = [leaf_hash(entry) for entry in split_bundle(export.read(name), name)]
        if hashes != levels[0][index * TILE : index * TILE + width]:
            raise Broken(f"{name}: holds other entries than the tree")


def check_objects(export):
    names = [name for name in sorted(export.names) if name.startswith("objects/")]
    for name in names:
        if hashlib.sha256(export.read(name)).hexdigest() != name[len("objects/") :]:
            raise Broken(f"{name}: the bytes have another hash than the name")
    return len(names)


def verify(export, vkey_text, origin, since):
    vkey = parse_vkey(vkey_text)
    origin = origin or vkey[0]
    size, root = parse_checkpoint(open_note(required(export, "checkpoint"), vkey, "checkpoint"), origin, "checkpoint")
    if "log.vkey" in export.names and export.read("log.vkey") not in (vkey_text.encode(), vkey_text.encode() + b"\n"):
        raise Broken("log.vkey: not the key the log was checked with")
    leaves = read_leaves(export, size)
    levels = tile_levels(leaves)
    tiles = check_tiles(export, levels)
    if tree_root(leaves) != root:
        raise Broken(f"checkpoint: the signed root is not that of the {size} entries")
    check_strays(export, levels)
    objects = check_objects(export)
    summary = f"ok: {origin}: {size} entries, {tiles} tiles, {objects} objects, root {root.hex()}"
    if since is None:
        return summary
    old_size, old_root = parse_checkpoint(open_note(since, vkey, "--since"), origin, "--since")
    if old_size > size:
        raise Broken(f"checkpoint: the log has {size} entries and had {old_size} before: it was rolled back")
    if tree_root(leaves[:old_size]) != old_root:
        raise Broken(f"checkpoint: the first {old_size} entries are not those of the older checkpoint")
    return f"{summary}, continues the checkpoint of {old_size}"


def main():
    parser = argparse.ArgumentParser(description="Verifies an exported log (C2SP tlog-tiles) from its key alone.")
    parser.add_argument("export", help="directory or .tar")
    parser.add_argument("vkey", help="the log's key, NAME+ID+BASE64, from the policy you trust")
    parser.add_argument("--origin", help="the log's name, when it is not the key's name")
    parser.add_argument("--since", metavar="OLD_CHECKPOINT", help="a checkpoint kept from an earlier time")
    call = parser.parse_args()
    try:
        export = Directory(call.export) if os.path.isdir(call.export) else Archive(call.export)
        since = None
        if call.since:
            with open(call.since, "rb") as file:
                since = file.read()
        print(verify(export, call.vkey.strip(), call.origin, since))
    except (Broken, OSError, tarfile.TarError) as error:
        print(f"broken: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
