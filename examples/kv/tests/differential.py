#!/usr/bin/env python3
"""Random commands, the same to kv and to redis-server 7.0: every answer has to be the same, and so has what is stored.

    redis-server --port 7700 --save '' &
    kv --listen 127.0.0.1:7701 &
    differential.py 127.0.0.1:7701 127.0.0.1:7700 --rounds 100 --seed 1

Both are flushed. Where Redis defines no order (SMEMBERS, HGETALL, KEYS), answers are compared without one; what is random
(SPOP, SRANDMEMBER) is asked for only so that the answer is the same whatever is picked. The first difference is
printed with the commands on the same keys before it, and ends the run with status 1.

Scans are in one page, since a cursor is each server's own. It knows nothing of clients and settings. Nothing but Python's own library is needed.
"""

import argparse
import random
import socket
import sys


class Client:
    def __init__(self, address, resp3):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")
        if resp3:
            self.ask([[b"HELLO", b"3"]])

    def ask(self, commands):
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            parts.extend(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(b"".join(parts))
        return [self.answer() for _ in commands]

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the connection ended")
        kind, text = line[:1], line[1:-2]
        if kind == b"$":
            return None if text == b"-1" else self.file.read(int(text) + 2)[:-2]
        if kind in b"*~>":
            return None if text == b"-1" else (kind, [self.answer() for _ in range(int(text))])
        if kind == b"%":
            return kind, [self.answer() for _ in range(2 * int(text))]
        if kind == b"_":
            return "null"
        return kind + text


# Words in braces are drawn: k any key, K a key that often holds what the command wants, v a value, i an integer, f a
# float, c a small count, and so on. A part in brackets is left out half of the time.
COMMANDS = {
    "s": """SET {K} {v}|SET {K} {v} {set}|SET {K} {v} {set} {set}|SET {K} {i}|SETNX {K} {v}|SETEX {K} {soon} {v}|PSETEX {K} {t} {v}|
        GET {K}|GETEX {K} [{getex}]|GETDEL {K}|GETSET {K} {v}|MGET {K} {k} {K}|MSET {K} {v} {k} {v}|MSETNX {K} {v} {K} {v}|
        APPEND {K} {v}|STRLEN {K}|SETRANGE {K} {o} {v}|GETRANGE {K} {i} {i}|SUBSTR {K} {c} {c}|INCR {K}|DECR {K}|INCRBY {K} {i}|
        DECRBY {K} {i}|INCRBYFLOAT {K} {f}|INCRBYFLOAT {K} {f}|SET {K} {f}|LCS {K} {K} [LEN] [IDX] [MINMATCHLEN {c}] [WITHMATCHLEN]|
        SETBIT {K} {o} {bit}|GETBIT {K} {o}|BITCOUNT {K} [{c} {c}]|BITCOUNT {K} {c} {c} {unit}|BITCOUNT {K} {i} {i} BIT|
        BITPOS {K} {bit} [{c}]|BITPOS {K} {bit} {c} {c} [{unit}]|BITPOS {K} {bit} {i} {i} BIT|BITOP {op} {K} {K} {K}|BITOP NOT {K} {K}""",
    "l": """LPUSH {K} {v} {v}|RPUSH {K} {v}|LPUSHX {K} {v}|RPUSHX {K} {v} {v}|LPOP {K} [{c}]|RPOP {K} [{c}]|LLEN {K}|
        LRANGE {K} {c} {c}|LRANGE {K} {i} {i}|LINDEX {K} {c}|LSET {K} {c} {v}|LINSERT {K} {where} {v} {v}|LREM {K} {c} {v}|
        LTRIM {K} {c} {c}|LPOS {K} {v} [RANK {c}] [COUNT {c}] [MAXLEN {c}]|LMOVE {K} {K} {end} {end}|RPOPLPUSH {K} {K}|
        LMPOP {n} {K} {K} {end} [COUNT {c}]|LMPOP 1 {K} {end} [COUNT {c}]""",
    "h": """HSET {K} {v} {v}|HSET {K} {v} {v} {v} {v}|HSET {K} {v} {i}|HMSET {K} {v} {v}|HSETNX {K} {v} {v}|HGET {K} {v}|
        HMGET {K} {v} {v}|HDEL {K} {v} {v}|HEXISTS {K} {v}|HSTRLEN {K} {v}|HLEN {K}|HGETALL {K}|HKEYS {K}|HVALS {K}|
        HINCRBY {K} {v} {i}|HINCRBYFLOAT {K} {v} {f}|HRANDFIELD {K} 0|HRANDFIELD {K} 1000|HRANDFIELD {K} 1000 WITHVALUES|
        HSCAN {K} {cursor} COUNT {page} [MATCH {glob}]|HSCAN {K} {cursor} QQ COUNT 1000""",
    "t": """SADD {K} {v} {v}|SADD {K} {i}|SREM {K} {v} {v}|SCARD {K}|SISMEMBER {K} {v}|SMISMEMBER {K} {v} {i}|SMEMBERS {K}|
        SMOVE {K} {K} {v}|SPOP {K} 1000|SPOP {K} 0|SRANDMEMBER {K} 1000|SINTER {K} {K}|SUNION {K} {K}|SDIFF {K} {K} {K}|
        SINTERSTORE {K} {K} {K}|SUNIONSTORE {K} {K} {K}|SDIFFSTORE {K} {K} {K}|SINTERCARD {n} {K} {K} [LIMIT {c}]|
        SSCAN {K} {cursor} COUNT {page} [MATCH {glob}]|SSCAN {K} {cursor} TYPE set""",
    "z": """ZADD {K} {f} {v} {f} {v}|ZADD {K} {zadd} {f} {v}|ZADD {K} {zadd} {zadd} {f} {v}|ZADD {K} {c} {v} {c} {v}|ZINCRBY {K} {f} {v}|
        ZSCORE {K} {v}|ZMSCORE {K} {v} {v}|ZRANK {K} {v}|ZREVRANK {K} {v}|ZREM {K} {v} {v}|ZCARD {K}|ZPOPMIN {K} [{c}]|
        ZPOPMAX {K} [{c}]|ZMPOP {n} {K} {K} {minmax} [COUNT {c}]|ZRANDMEMBER {K} 0|ZRANDMEMBER {K} 1000 [WITHSCORES]|
        ZRANGE {K} {c} {c} [REV] [WITHSCORES]|ZRANGE {K} {b} {b} BYSCORE [REV] [WITHSCORES] [LIMIT {c} {c}]|
        ZRANGE {K} {i} {i} [LIMIT {c} {c}]|ZREVRANGE {K} {c} {c} [WITHSCORES]|
        ZRANGEBYSCORE {K} {b} {b} [WITHSCORES] [LIMIT {c} {c}]|ZREVRANGEBYSCORE {K} {b} {b} [WITHSCORES]|
        ZRANGESTORE {K} {K} {c} {c} [REV]|
        ZRANGESTORE {K} {K} {b} {b} BYSCORE [REV] [LIMIT {c} {c}]|ZCOUNT {K} {b} {b}|
        ZREMRANGEBYRANK {K} {c} {c}|ZREMRANGEBYSCORE {K} {b} {b}|
        ZUNION 2 {K} {K} [WEIGHTS {f} {f}] [AGGREGATE {agg}] [WITHSCORES]|ZINTER 2 {K} {K} [WEIGHTS {f} {f}] [WITHSCORES]|
        ZDIFF {n} {K} {K} [WITHSCORES]|ZUNIONSTORE {K} 2 {K} {k} [WEIGHTS {f} {f}] [AGGREGATE {agg}]|
        ZINTERSTORE {K} 2 {K} {K} [AGGREGATE {agg}]|ZDIFFSTORE {K} 2 {K} {K}|ZINTERCARD {n} {K} {K} [LIMIT {c}]|
        ZSCAN {K} {cursor} COUNT {page} [MATCH {glob}]|ZSCAN {K} {cursor} COUNT 1000 MATCH""",
    # Ranges of members have a meaning where all scores are the same.
    "y": """ZADD {K} 0 {v} 0 {v}|ZADD {K} 0 {v} 0 {v} 0 {v}|ZREM {K} {v}|ZRANGE {K} {x} {x} BYLEX [REV] [LIMIT {c} {c}]|ZLEXCOUNT {K} {x} {x}|
        ZRANGEBYLEX {K} {x} {x} [LIMIT {c} {c}]|ZREVRANGEBYLEX {K} {x} {x} [LIMIT {c} {c}]|ZREMRANGEBYLEX {K} {x} {x}|
        ZRANGESTORE {K} {K} {x} {x} BYLEX [REV] [LIMIT {c} {c}]""",
    "": """DEL {k} {k}|UNLINK {k}|EXISTS {k} {k} {k}|TYPE {k}|TOUCH {k} {k}|RENAME {k} {k}|RENAMENX {k} {k}|COPY {k} {k} [REPLACE]|
        KEYS *|KEYS {glob}|SCAN {cursor} COUNT {page} [MATCH {glob}] [TYPE {type}]|DBSIZE|PERSIST {k}|EXPIREAT {k} {at} [{cond}] [{cond}]|PEXPIREAT {k} {at}000 [{cond}]|EXPIRE {k} {soon} {cond}|
        EXPIRETIME {k}|PEXPIRETIME {k}|EXPIRE {k} {neg}|SETEX {k} 100000 {v}|TTL {k}|ECHO {v}|PING {v}""",
}
UNORDERED = b"SMEMBERS SINTER SUNION SDIFF HKEYS HVALS KEYS SPOP SRANDMEMBER".split()
PAIRS = b"HGETALL".split()
TIMES = b"TTL EXPIRETIME PEXPIRETIME".split()
SCANS = b"SCAN SSCAN HSCAN ZSCAN".split()
PICKED = b"HRANDFIELD ZRANDMEMBER".split()
INTEGERS = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "4611686018427387904", "-1", "0", "1", "01", "+1", "-0",
            "", " 1", "1 ", "1.0", "a", "2147483648", "-9223372036854775807"]
FLOATS = ["0.1", "0.2", "-0.3", "1.5", "3.0e3", "1e17", "1e-7", "-1e300", "1e308", "1e400", "inf", "-inf", "+inf", "nan", "1e-400", "", "x",
          "-0", "0.00001", "123456789.123456789", "17179869184", "1e21", ".5", "5.", " 1", "1 ", "3", "-7", "1234.5678", "99999999999999999999",
          "2.2250738585072014e-308", "Infinity", "0e999"]
VALUES = ["", "a", "b", "c", "abc", "hello", "10", "7", "-3", "x\x00y", "\r\n", "\xff\xfe", "0", "1", "2", "3"]


class Words:
    """Draws commands."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.templates = [(kind, template.split()) for kind, text in COMMANDS.items() for template in text.split("|")]

    def command(self):
        kind, template = self.random.choice(self.templates)
        text = " ".join(template)
        words, skips = [], False
        for token in text.split():
            if token.startswith("["):
                skips, token = self.random.random() < 0.5, token[1:]
            ends = token.endswith("]")
            if not skips:
                words.append(self.word(token.rstrip("]"), kind))
            if ends:
                skips = False
        if self.random.random() < 0.02:
            words = words[:-1] or words
        if self.random.random() < 0.02:
            words.append(self.word("{v}", kind))
        if ("RAND" in words[0].upper() or words[0].upper() == "SPOP") and words[2:3] not in (["0"], ["1000"]):
            return self.command()
        counts = [int(word) for option, word in zip(words, words[1:]) if option.upper() == "COUNT" and word.isdigit()]
        if words[0].upper().endswith("SCAN") and any(0 < count < 1000 for count in counts):
            return self.command()
        return [word.encode("latin-1") for word in words]

    def word(self, token, kind):
        start, end = token.find("{"), token.find("}")
        if start < 0:
            return token if self.random.random() < 0.9 else token.lower()
        return token[:start] + self.draw(token[start + 1:end], kind) + token[end + 1:]

    def draw(self, what, kind):
        pick = self.random.choice
        small = lambda: str(self.random.randint(-4, 5))
        if what == "K" and (kind == "y" or self.random.random() < 0.9):
            return kind + pick("123")
        if what in "kK":
            return pick("slhtz") + pick("123")
        return {
            "v": lambda: pick(VALUES) if self.random.random() < 0.97 else pick(INTEGERS + FLOATS + ["x" * 70, "y" * 300]),
            "i": lambda: small() if self.random.random() < 0.6 else pick(INTEGERS),
            # Never the same twice, nor over while a round lasts: which of two equal times is the later one is for the clocks to say.
            "soon": lambda: str(self.random.choice([0, 2**31]) + self.random.randint(200_000, 100_000_000)) if self.random.random() < 0.6
            else pick([it for it in INTEGERS if it not in ("1", "2147483648")]),
            "t": lambda: pick(["1000000", "100000000", "0", "-1", "a", "9223372036854775807"]),
            "f": lambda: pick(FLOATS) if self.random.random() < 0.7 else small(),
            "c": small,
            "o": lambda: pick(["0", "1", "5", "20", "-1", "a", "4294967296", "99999999999"] if self.random.random() < 0.1 else ["0", "1", "5", "20"]),
            "n": lambda: pick(["2", "2", "2", "1", "0", "3", "-1", "a", "9223372036854775807"]),
            "unit": lambda: pick(["BIT", "BIT", "BYTE", "WORD"]),
            "op": lambda: pick(["AND", "OR", "XOR", "NOT", "NAND"]),
            "bit": lambda: pick(["0", "1", "2", "a"]),
            "at": lambda: pick(["9999999999", "4000000000", "1", "0", "-1", "5000000000", "9223372036854775807", "x"]),
            "neg": lambda: pick(["-1", "0", "-9223372036854775808", "9223372036854775807", "x"]),
            "cond": lambda: pick(["NX", "XX", "GT", "LT", "QQ"]),
            "set": lambda: pick(["NX", "XX", "GET", "KEEPTTL", "EX 100000", "PXAT 9999999999999", "EX 0", "PX -1", "EXAT 9999999999", "BAD",
                                 "EX 9223372036854775807", "PX 9223372036854775807"]),
            "getex": lambda: pick(["PERSIST", "EX 100000", "PXAT 9999999999999", "EXAT 1", "EX 0", "NX", "PERSIST EX 10"]),
            "where": lambda: pick(["BEFORE", "AFTER", "AFTER", "ON"]),
            "end": lambda: pick(["LEFT", "RIGHT", "RIGHT", "UP"]) if self.random.random() < 0.2 else pick(["LEFT", "RIGHT"]),
            "minmax": lambda: pick(["MIN", "MAX", "min", "MIDDLE"]),
            "zadd": lambda: pick(["NX", "XX", "GT", "LT", "CH", "INCR"]),
            "agg": lambda: pick(["SUM", "MIN", "MAX", "AVG"]) if self.random.random() < 0.2 else pick(["SUM", "MIN", "MAX"]),
            "b": lambda: pick(["-inf", "+inf", "(1", "(3", "0", "1", "3", "-3", "(-3", "(inf", "1e300", "x", "(x", "nan", "(5"]),
            "x": lambda: pick(["-", "+", "[a", "(a", "[b", "(c", "[", "(", "a", "", "[hello", "(10", "-x", "[\xff"]),
            "cursor": lambda: pick(["0", "0", "0", "x"]),
            "page": lambda: pick(["1000", "1000", "1000", "9223372036854775807", "0", "-1", "a"]),
            "type": lambda: pick(["string", "list", "hash", "set", "zset", "SET", "none"]),
            "glob": lambda: pick(["s*", "?1", "[sz]2", "[^s]?", "\\s1", "*[1-2]", "", "l", "*1*"]),
        }[what]()


def normal(words, answer):
    """Returns an answer without the order that nobody promised."""
    name = words[0].upper()
    if name.startswith(b"Z") and answer in (b"-0", b",-0"):
        # Redis prints -0 or 0, by how it stores the sorted set.
        return answer.replace(b"-", b"")
    if not isinstance(answer, tuple):
        return answer
    kind, elements = answer
    if name.startswith(b"Z"):
        elements = [normal(words[:1], element) for element in elements]
    if name in SCANS and elements and isinstance(elements[-1], tuple):
        found = elements[-1][1]
        if name in (b"HSCAN", b"ZSCAN"):
            found = zip(found[::2], found[1::2])
        if name == b"ZSCAN":
            # How Redis prints a large integer here, too, is by how it stores the sorted set.
            found = [(member, float(score)) for member, score in found]
        return kind, elements[:1] + sorted(found, key=repr)
    if name in UNORDERED:
        return kind, sorted(elements, key=repr)
    is_paired = len(words) > 3 and words[3].upper() in (b"WITHVALUES", b"WITHSCORES")
    if name in PAIRS or name in PICKED and is_paired and not any(isinstance(it, tuple) for it in elements):
        return kind, sorted(zip(elements[::2], elements[1::2]), key=repr)
    if name in PICKED:
        return kind, sorted(elements, key=repr)
    return kind, elements


def is_near(one, other):
    """Returns whether both can be the same time from now: the servers were told it at two moments."""
    return one[1:].isdigit() and other[1:].isdigit() and abs(int(one[1:]) - int(other[1:])) <= 5000


def is_same(words, one, other):
    if words[0].upper() in TIMES and is_near(one, other):
        return True
    option = b"-ERR Unsupported option "
    if isinstance(one, bytes) and one.startswith(option):
        # What is no text is told in another way.
        return isinstance(other, bytes) and other.startswith(option)
    return normal(words, one) == normal(words, other)


DUMPS = {b"+string": [b"GET"], b"+list": [b"LRANGE", b"0", b"-1"], b"+hash": [b"HGETALL"], b"+set": [b"SMEMBERS"],
         b"+zset": [b"ZRANGE", b"0", b"-1", b"WITHSCORES"]}


def stored(client):
    (_, keys), = client.ask([[b"KEYS", b"*"]])
    keys = sorted(keys)
    kinds = client.ask([[b"TYPE", key] for key in keys])
    dumps = [[DUMPS[kind][0], key] + DUMPS[kind][1:] for key, kind in zip(keys, kinds)]
    values = client.ask(dumps)
    deadlines = client.ask([[b"PEXPIRETIME", key] for key in keys])
    return [(key, normal(words, value), deadline) for key, words, value, deadline in zip(keys, dumps, values, deadlines)]


def is_stored_same(ours, theirs):
    return len(ours) == len(theirs) and all(
        one[:2] == other[:2] and (one[2] == other[2] or is_near(one[2], other[2])) for one, other in zip(ours, theirs))


def shown(words):
    return " ".join(repr(word)[1:] for word in words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kv", help="HOST:PORT of kv")
    parser.add_argument("redis", help="HOST:PORT of redis-server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100, help="each begins with nothing")
    parser.add_argument("--commands", type=int, default=1000, help="in a round")
    parser.add_argument("--resp3", action="store_true")
    parser.add_argument("--go-on", action="store_true", help="print all differences")
    options = parser.parse_args()
    kv, redis = Client(options.kv, options.resp3), Client(options.redis, options.resp3)
    differences = 0
    for seed in range(options.seed, options.seed + options.rounds):
        words = Words(seed)
        # An option such as "EX 10" is two words.
        commands = [[part for word in words.command() for part in ([word] if b"\r" in word or word.strip() != word or not word
                     else word.split(b" "))] for _ in range(options.commands)]
        kv.ask([[b"FLUSHALL"]]), redis.ask([[b"FLUSHALL"]])
        ours, theirs = kv.ask(commands), redis.ask(commands)
        for at, (command, one, other) in enumerate(zip(commands, ours, theirs)):
            if not is_same(command, one, other):
                differences += 1
                print(f"seed {seed}, command {at}: {shown(command)}\n  kv:    {one}\n  redis: {other}")
                if not options.go_on:
                    keys = set(command[1:])
                    before = [it for it in commands[:at] if keys & set(it[1:])][-15:]
                    print("  after:\n    " + "\n    ".join(map(shown, before)))
                    sys.exit(1)
        ours, theirs = stored(kv), stored(redis)
        if not is_stored_same(ours, theirs):
            print(f"seed {seed}: what is stored differs\n  kv:    {ours}\n  redis: {theirs}")
            sys.exit(1)
    print(f"{options.rounds * options.commands} commands, {differences} differences")
    sys.exit(differences > 0)


main()
