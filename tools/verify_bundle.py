#!/usr/bin/env python3
"""Checks a Toka bundle without Toka.

Written from docs/format/ alone: bundle.md, record.md, proofs.md and sealing.md. It needs Python 3.9 and what requirements.txt names.

    verify_bundle.py BUNDLE [--key NAME+HASH+KEY ...] [--json]
    verify_bundle.py --vectors docs/format          the files of bundle.json and the cases of proofs.json

Ends with 0 if all is well, 1 if the file cannot be read, 2 if it is not understood, 6 if something in it is wrong. Every
--key has to have signed the bundle's checkpoint. Without one nothing is said about who made the bundle.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import struct
import sys
from collections import deque

from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"TOKABND\n"
FORMATS = (1, 2)
SEALED_FORMAT = 2
CHECKSUM = 32
REASONS = {1: "redacted", 2: "erased", 3: "expired", 4: "sealed"}
KEYS = ["log", "from", "end", "root", "contents", "gone", "dimension"]
MAX = {"header": 128 << 10, "content": 16 << 20, "facts": 64 << 10, "description": 64 << 10, "note": 1 << 20}
MAX_HASHES = 63

KIND = re.compile(rb"[a-z0-9_-]+(\.[a-z0-9_-]+)*\Z")
LABEL = re.compile(rb"[A-Za-z0-9._\-:/@]{1,64}\Z")
LOG = re.compile(r"[A-Za-z0-9._\-/]{1,64}\Z")
HEX = re.compile(r"[0-9a-f]{64}\Z")


class Wrong(Exception):
    """Something that makes what follows unreadable."""


# -- The log tree: record.md and proofs.md ------------------------------------------------------------------------------


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf(header):
    return sha256(b"\x00" + header)


def node(left, right):
    return sha256(b"\x01" + left + right)


EMPTY_ROOT = sha256(b"")


class Tree:
    """A tree as its frontier: the roots of its complete subtrees, from the largest to the smallest."""

    def __init__(self, size=0, frontier=()):
        if bin(size).count("1") != len(frontier):
            raise Wrong(f"a tree of {size} events has no frontier of {len(frontier)} hashes")
        self.size = size
        self.frontier = list(frontier)

    def append(self, hash_):
        size = self.size
        while size & 1:
            hash_ = node(self.frontier.pop(), hash_)
            size >>= 1
        self.frontier.append(hash_)
        self.size += 1

    def root(self):
        if not self.frontier:
            return EMPTY_ROOT
        root = self.frontier[-1]
        for left in reversed(self.frontier[:-1]):
            root = node(left, root)
        return root


def included(index, size, leaf_hash, root, hashes):
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf_hash
    for p in hashes:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


def continues(old, size, old_root, root, hashes):
    if old > size:
        return False
    if old == 0:
        return not hashes and old_root == EMPTY_ROOT
    if old == size:
        return not hashes and old_root == root
    hashes = list(hashes)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = hashes[0]
    for c in hashes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == root


# -- Signed notes: proofs.md -------------------------------------------------------------------------------------------


def unbase64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("base64 that is none") from None
    # Bits that do not count could be set in several ways; only one of them is written.
    if base64.b64encode(data).decode() != text:
        raise Wrong("base64 that is not written as it has to be")
    return data


def decimal(text):
    if not re.fullmatch(r"0|[1-9][0-9]*", text, re.ASCII) or int(text) >= 1 << 64:
        raise Wrong(f"{text[:40]!r} is no number")
    return int(text)


def check_name(name):
    if not name or "+" in name or any(c.isspace() or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name):
        raise Wrong("a name that cannot be one")


class Key:
    """A verifier key, name+hash+key."""

    def __init__(self, text):
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise Wrong(f"{text!r} is no key: it has to be NAME+HASH+KEY")
        self.name = parts[0]
        check_name(self.name)
        data = unbase64(parts[2])
        if len(data) != 33 or data[0] not in (1, 4):
            raise Wrong(f"{text!r} is no key of a kind that is known")
        self.algorithm, self.public = data[0], data[1:]
        self.hash = sha256(self.name.encode() + b"\n" + data)[:4]
        if self.hash.hex() != parts[1]:
            raise Wrong(f"{text!r} is no key: its hash is not that of name and key")

    def verify(self, text, signature):
        """The time that the signature tells, or 0; raises Wrong if it does not hold."""
        message, time = text, 0
        if self.algorithm == 4:
            if len(signature) < 8:
                raise Wrong(f"the signature of {self.name} is too short")
            time = int.from_bytes(signature[:8], "big")
            if not 0 < time < 1 << 63:
                raise Wrong(f"the signature of {self.name} tells no time")
            message, signature = b"cosignature/v1\ntime %d\n" % time + text, signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise Wrong(f"the signature of {self.name} does not match") from None
        return time


class Note:
    """Text and the signatures below it."""

    def __init__(self, data):
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Wrong("a note that is not UTF-8") from None
        if any(ord(c) < 0x20 and c != "\n" for c in whole):
            raise Wrong("a note with control characters")
        at = whole.rfind("\n\n")
        if at < 0 or not whole.endswith("\n") or at + 2 == len(whole):
            raise Wrong("a note without signatures")
        self.text = whole[: at + 1]
        self.signatures = []
        for line in whole[at + 2 : -1].split("\n"):
            parts = line.split(" ")
            if len(parts) != 3 or parts[0] != "\u2014":
                raise Wrong("a line that is no signature")
            check_name(parts[1])
            data = unbase64(parts[2])
            if len(data) < 5:
                raise Wrong("a signature that is too short")
            self.signatures.append((parts[1], data[:4], data[4:]))

    def signed_by(self, keys):
        """Those of the keys that signed it; raises Wrong if a signature of one of them does not hold."""
        found = []
        for name, hash_, signature in self.signatures:
            for key in keys:
                if (key.name, key.hash) == (name, hash_):
                    key.verify(self.text.encode(), signature)
                    if key not in found:
                        found.append(key)
        return found


class Checkpoint:
    """What a note says of a log."""

    def __init__(self, text):
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or "" in lines:
            raise Wrong("a checkpoint of too few lines, or with an empty one")
        check_name(lines[0])
        self.origin, self.size = lines[0], decimal(lines[1])
        self.root = unbase64(lines[2])
        if len(self.root) != 32:
            raise Wrong("a checkpoint with a root that is none")
        folds = [line[5:] for line in lines[3:] if line.startswith("fold ")]
        if len(folds) > 1 or not all(HEX.match(fold) for fold in folds):
            raise Wrong("a checkpoint with a fold that is none")
        self.fold = folds[0] if folds else None


def check_log_proof(text, header, keys):
    """The proof of an event as in c2sp.org/tlog-proof; raises Wrong if it does not hold."""
    head, empty, note = text.partition("\n\n")
    lines = head.split("\n")
    if not empty or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Wrong("no proof of an event")
    if lines and lines[0].startswith("extra "):
        unbase64(lines.pop(0)[6:])
    if not lines or not lines[0].startswith("index "):
        raise Wrong("a proof without an index")
    index = decimal(lines.pop(0)[6:])
    hashes = [unbase64(line) for line in lines]
    if any(len(hash_) != 32 for hash_ in hashes) or len(hashes) > MAX_HASHES:
        raise Wrong("a proof with a hash that is none")
    note = Note(note.encode())
    if not note.signed_by(keys):
        raise Wrong("a proof that leads to nothing signed")
    checkpoint = Checkpoint(note.text)
    if not included(index, checkpoint.size, leaf(header), checkpoint.root, hashes):
        raise Wrong("a proof that does not lead to its checkpoint")


# -- Events: record.md -------------------------------------------------------------------------------------------------


class Header:
    """The header of an event."""

    def __init__(self, data):
        self.data, self.at = data, 0
        if self.u(1) != 1:
            raise Wrong("a header of another version")
        self.seq = self.u(8)
        self.time = struct.unpack("<q", self.take(8))[0]
        self.id = self.take(32)
        self.author = self.take(16)
        flags = self.u(1)
        if flags > 1:
            raise Wrong("a header with unknown flags")
        self.prev = self.take(32) if flags else b""
        self.kind = self.take(self.u(1))
        if not 1 <= len(self.kind) <= 64 or not KIND.match(self.kind):
            raise Wrong("a header with a kind that is none")
        self.parents = [self.take(32) for _ in range(self.count(64))]
        self.contents = [(self.take(32), self.u(4)) for _ in range(self.count(16))]
        self.labels = [self.take(self.u(1)) for _ in range(self.count(32))]
        if not all(LABEL.match(label) for label in self.labels):
            raise Wrong("a header with a label that is none")
        if any(a >= b for a, b in zip(self.labels, self.labels[1:])):
            raise Wrong("a header with labels out of order")
        length = self.u(4)
        if length > MAX["facts"] or sum(size for _, size in self.contents) > MAX["content"]:
            raise Wrong("a header beyond its bounds")
        self.facts = self.take(length)
        if self.at != len(data):
            raise Wrong("bytes after a header")

    def take(self, length):
        if self.at + length > len(self.data):
            raise Wrong("a header that ends early")
        self.at += length
        return self.data[self.at - length : self.at]

    def u(self, length):
        return int.from_bytes(self.take(length), "little")

    def count(self, most):
        count = self.u(1)
        if count > most:
            raise Wrong("a header beyond its bounds")
        return count

    def causal_digest(self):
        hasher = blake3(derive_key_context="toka 2026 event id v1")
        fields = [self.kind, self.author, self.prev, self.facts]
        fields.append(b"".join(digest for digest, _ in self.contents))
        fields.append(bytes([len(self.labels)]))
        fields += self.labels
        fields.append(b"".join(self.parents))
        for field in fields:
            hasher.update(struct.pack("<Q", len(field)) + field)
        return hasher.digest()


# -- Sealed payloads: sealing.md ---------------------------------------------------------------------------------------

SEALED_MAGIC = b"TSP1"
SEALED_OVERHEAD = 64


def hchacha20(key, nonce):
    """The key of ChaCha20 that XChaCha20 makes of its own and of the first 16 bytes of its nonce."""
    state = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + nonce))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = (mixed << turn | mixed >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def open_sealed(key, stored):
    """What a sealed payload says under its own key; None if that is another one, or anything was changed."""
    nonce = stored[24:48]
    cipher = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
    try:
        return cipher.decrypt(bytes(4) + nonce[16:], stored[48:], stored[:24])
    except InvalidTag:
        return None


# -- The bundle: bundle.md ---------------------------------------------------------------------------------------------


class Bundle:
    """Reads a bundle and lists what is wrong with it."""

    def __init__(self, data, keys=()):
        self.data, self.at, self.end = data, 0, max(len(data) - CHECKSUM, 0)
        self.problems = []
        self.description = self.checkpoint = None
        self.signed_by = []
        self.events = 0
        self.first_leaf = None
        self.tree = Tree()
        try:
            self.read(keys)
        except Wrong as wrong:
            self.problem("bundle", str(wrong))
        if len(data) < CHECKSUM or blake3(data[: self.end]).digest() != data[self.end :]:
            self.problem("bundle", "the digest over the file does not match")

    def problem(self, what, detail, seq=None, offset=None):
        self.problems.append({"what": what, "seq": seq, "offset": self.at if offset is None else offset, "detail": detail})

    def take(self, length):
        if length > self.end - self.at:
            raise Wrong(f"{length} bytes are expected at byte {self.at}, the file ends before")
        self.at += length
        return self.data[self.at - length : self.at]

    def u(self, length):
        return int.from_bytes(self.take(length), "little")

    def section(self, what, most):
        length = self.u(8)
        if length > min(most, self.end - self.at):
            raise Wrong(f"{what} cannot have {length} bytes")
        return length

    def hashes(self, what, most):
        data = self.take(self.section(what, 32 * most))
        if len(data) % 32:
            raise Wrong(f"{what} is no list of hashes")
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def read(self, keys):
        if self.take(8) != MAGIC:
            raise Wrong("it is no bundle")
        version, zeros = self.u(4), self.u(4)
        if version not in FORMATS or zeros:
            raise Wrong(f"it has the format {version}, this program knows {' and '.join(map(str, FORMATS))}")
        self.sealed = version == SEALED_FORMAT
        self.read_description(self.take(self.section("the description", MAX["description"])))
        first, end = self.description["from"], self.description["end"]
        self.tree = Tree(first, self.hashes("the frontier", 64))
        self.sizes = {}
        self.read_headers(first, end)
        self.disclosed = self.read_disclosed() if self.sealed else deque()
        there = self.read_contents()
        gone = self.read_gone(there)
        for digest in self.sizes:
            if digest not in there and digest not in gone:
                self.problem("content", f"content {digest.hex()} is not there, and no reason is given")
        self.read_checkpoint(keys)
        if self.at != self.end:
            raise Wrong("bytes follow the last section")

    def read_description(self, data):
        def unique(pairs):
            if [key for key, _ in pairs] != KEYS + (["keys"] if self.sealed else []):
                raise Wrong("the description has other keys, or in another order")
            return dict(pairs)

        try:
            description = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
        except ValueError:
            raise Wrong("the description is no JSON") from None
        if json.dumps(description, separators=(",", ":"), ensure_ascii=False).encode() != data:
            raise Wrong("the description is not written as it has to be")
        numbers = [description[key] for key in ("from", "end", "contents", "gone")]
        if not all(type(number) is int and 0 <= number < 1 << 64 for number in numbers):
            raise Wrong("the description has a number that is none")
        dimension = description["dimension"]
        if dimension is not None and not (type(dimension) is int and 0 <= dimension < 1 << 32):
            raise Wrong("the description has a dimension that is none")
        if not (isinstance(description["log"], str) and LOG.match(description["log"])):
            raise Wrong("the description has a log that is none")
        if not isinstance(description["root"], str) or description["from"] >= description["end"]:
            raise Wrong("the description has a root or a range that is none")
        if self.sealed and not (isinstance(description["keys"], str) and re.fullmatch(r"[0-9a-f]{32}", description["keys"])):
            raise Wrong("the description names keys that are none")
        self.description = description

    def read_headers(self, first, end):
        length = self.section("the headers", len(self.data))
        stop = self.at + length
        last_time, ids = None, set()
        for seq in range(first, end):
            if self.at >= stop:
                raise Wrong(f"the headers end before event {seq}")
            size = self.u(4)
            if size > MAX["header"] or self.at + size > stop:
                raise Wrong(f"the header of event {seq} cannot have {size} bytes")
            offset, data = self.at, self.take(size)
            self.events += 1
            self.tree.append(leaf(data))
            if seq == 0:
                self.first_leaf = leaf(data)
            try:
                header = Header(data)
            except Wrong as wrong:
                self.problem("event", str(wrong), seq, offset)
                continue
            if header.seq != seq:
                self.problem("event", f"event {header.seq} stands where event {seq} belongs", seq, offset)
            if last_time is not None and header.time < last_time:
                self.problem("event", "its time lies before its predecessor's", seq, offset)
            if header.causal_digest() != header.id:
                self.problem("event", f"its causal digest is {header.causal_digest().hex()}", seq, offset)
            for cause in header.parents + ([header.prev] if header.prev else []):
                # What lies before the bundle cannot be looked at.
                if first == 0 and cause not in ids:
                    self.problem("cause", f"it names {cause.hex()}, which is not before it", seq, offset)
            for digest, length in header.contents:
                if self.sizes.setdefault(digest, length) != length:
                    self.problem("content", f"content {digest.hex()} has another size elsewhere", seq, offset)
            if header.id in ids:
                self.problem("event", "the same event stands before it", seq, offset)
            ids.add(header.id)
            last_time = header.time
        if self.at != stop:
            raise Wrong("bytes follow the last header")
        if self.tree.root().hex() != self.description["root"]:
            self.problem("root", f"the events lead to the root {self.tree.root().hex()}")

    def read_disclosed(self):
        length = self.section("the list of keys", len(self.data))
        if length % 64:
            raise Wrong("the list of keys is none")
        return deque((self.take(32), self.take(32)) for _ in range(length // 64))

    def check_sealed(self, digest, stored):
        """What is wrong with a content of a sealed log, or with the key that is told of it."""
        if len(stored) < SEALED_OVERHEAD or not stored.startswith(SEALED_MAGIC):
            return f"content {digest.hex()} is not sealed"
        if self.disclosed and self.disclosed[0][0] == digest:
            _, key = self.disclosed.popleft()
            if open_sealed(key, stored) is None:
                return f"the key of content {digest.hex()} does not open it"
        return None

    def read_contents(self):
        stop = self.section("the contents", len(self.data))
        stop += self.at
        there = set()
        for _ in range(self.description["contents"]):
            if stop - self.at < 36:
                raise Wrong("there are fewer contents than the description says")
            offset = self.at
            digest, length = self.take(32), self.u(4)
            if length > MAX["content"] or self.at + length > stop:
                raise Wrong(f"a content cannot have {length} bytes")
            stored = self.take(length)
            if blake3(stored).digest() != digest:
                self.problem("content", f"content {digest.hex()} does not match its digest", offset=offset)
            elif self.sizes.get(digest) != length:
                self.problem("content", f"no event names content {digest.hex()} with {length} bytes", offset=offset)
            elif digest in there:
                self.problem("content", f"content {digest.hex()} is there twice", offset=offset)
            else:
                there.add(digest)
                wrong = self.check_sealed(digest, stored) if self.sealed else None
                if wrong:
                    self.problem("content", wrong, offset=offset)
        if self.disclosed:
            self.problem("content", f"there is a key of content {self.disclosed[0][0].hex()}, and no such content where it belongs")
        if self.at != stop:
            raise Wrong("bytes follow the last content")
        return there

    def read_gone(self, there):
        length = self.section("the list of what is gone", len(self.data))
        if length != 33 * self.description["gone"]:
            raise Wrong("the list of what is gone is not as long as the description says")
        gone = set()
        for _ in range(self.description["gone"]):
            offset = self.at
            digest, reason = self.take(32), self.u(1)
            if reason not in REASONS:
                self.problem("content", f"no reason {reason} is known", offset=offset)
            elif digest not in self.sizes or digest in there or digest in gone:
                self.problem("content", f"content {digest.hex()} cannot be gone here", offset=offset)
            else:
                gone.add(digest)
        return gone

    def read_checkpoint(self, keys):
        hashes = self.hashes("the consistency proof", MAX_HASHES)
        data = self.take(self.section("the checkpoint", MAX["note"]))
        try:
            if not data:
                if hashes:
                    raise Wrong("a consistency proof stands there without a checkpoint")
                if keys:
                    raise Wrong("it holds no signed checkpoint")
                return
            note = Note(data)
            checkpoint = Checkpoint(note.text)
            old = self.description["end"]
            if not continues(old, checkpoint.size, self.tree.root(), checkpoint.root, hashes):
                raise Wrong("the events do not lead to the checkpoint")
            chosen = re.fullmatch(r"toka/([0-9a-f]{16})/(.+)", checkpoint.origin, re.ASCII)
            if chosen and chosen.group(2) != self.description["log"]:
                raise Wrong("the checkpoint is that of another log")
            if chosen and self.first_leaf and not self.first_leaf.hex().startswith(chosen.group(1)):
                raise Wrong("the checkpoint is that of a log with another first event")
            self.checkpoint = checkpoint
            self.signed_by = note.signed_by(keys)
            missing = [key.name for key in keys if key not in self.signed_by]
            if missing:
                raise Wrong(f"{', '.join(missing)} has not signed the checkpoint")
        except Wrong as wrong:
            self.problem("checkpoint", str(wrong))


# -- The command -------------------------------------------------------------------------------------------------------


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def show(bundle, as_json):
    ok = not bundle.problems
    checkpoint = bundle.checkpoint
    if as_json:
        told = checkpoint and {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "fold": checkpoint.fold,
            "signed_by": [key.name for key in bundle.signed_by],
        }
        root = bundle.tree.root().hex()
        print(json.dumps({"v": 1, "ok": ok, "events": bundle.events, "root": root, "problems": bundle.problems, "checkpoint": told}))
    else:
        for problem in bundle.problems:
            where = f"event {problem['seq']}: " if problem["seq"] is not None else ""
            print(f"{problem['what']:10} byte {problem['offset']}: {where}{problem['detail']}")
        print(f"{'ok' if ok else 'damaged'}: {bundle.events} events, root {bundle.tree.root().hex()}")
    if ok and not bundle.signed_by:
        print("nobody vouches for it: no --key is given, or it holds no signed checkpoint", file=sys.stderr)
    return 0 if ok else 6


def holds(check):
    try:
        return check()
    except Wrong:
        return False


def proof_case(case):
    """Whether a case of proofs.json holds."""
    kind = case["case"]
    hashes = [bytes.fromhex(hash_) for hash_ in case.get("hashes", [])]
    if kind == "inclusion":
        return included(case["index"], case["size"], bytes.fromhex(case["leaf"]), bytes.fromhex(case["root"]), hashes)
    if kind == "consistency":
        return continues(case["old"], case["size"], bytes.fromhex(case["old_root"]), bytes.fromhex(case["root"]), hashes)
    keys = [Key(key) for key in case["keys"]]
    if kind == "checkpoint":
        note = Note(case["note"].encode())
        Checkpoint(note.text)
        return bool(note.signed_by(keys))
    check_log_proof(case["proof"], bytes.fromhex(case["header"]), keys)
    return True


def vectors(directory):
    """Goes through the files and cases that the documents come with."""
    wrong = 0
    listed = json.loads(read_file(os.path.join(directory, "bundle.json")))
    for file in listed["files"]:
        data = read_file(os.path.join(directory, file["file"]))
        bundle = Bundle(data, [Key(listed["key"])] if b"\n\n\xe2\x80\x94 " in data else [])
        if (not bundle.problems) != file["valid"] or blake3(data).hexdigest() != file["blake3"]:
            wrong += 1
            print(f"{file['file']}: {bundle.problems or 'no problem found'}")
    cases = json.loads(read_file(os.path.join(directory, "proofs.json")))["cases"]
    for case in cases:
        if holds(lambda: proof_case(case)) != case["valid"]:
            wrong += 1
            print(f"{case}")
    print(f"{len(listed['files'])} bundles and {len(cases)} proofs, {wrong} not as they should be")
    return 6 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description="Checks a Toka bundle without Toka.")
    parser.add_argument("bundle", nargs="?", help="the file")
    parser.add_argument("--key", action="append", default=[], metavar="NAME+HASH+KEY", help="a key that has to have signed it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--vectors", metavar="DIR", help="check the vectors in this directory instead")
    asked = parser.parse_args()
    if asked.vectors:
        return vectors(asked.vectors)
    if not asked.bundle:
        parser.error("a bundle has to be named")
    try:
        keys = [Key(key) for key in asked.key]
    except Wrong as wrong:
        parser.error(str(wrong))
    try:
        data = read_file(asked.bundle)
    except OSError as error:
        print(f"error: {asked.bundle}: {error.strerror}", file=sys.stderr)
        return 1
    return show(Bundle(data, keys), asked.json)


if __name__ == "__main__":
    sys.exit(main())
