#!/usr/bin/env python3
"""Ranks on one host or several pool their memory and move KV-cache blocks between each other.

Every byte is verified where it arrives.

A block has the shape of DeepSeek-R1's KV cache: 61 layers, each a 128 KiB and a 16 KiB piece that
lie apart at the receiver. So one block is one copy_data_batch of 122 pieces. The sender's pattern
depends on the pair, the block's number and the offset. The receiver shares nothing with the sender
but the pool. It checks the whole pattern, and the guard bytes around each piece.

The receiver's memory, as all ranks compute it:

    arrived[source]   blocks that the source has put (written by the source after each block, with
                      an 8-byte copy)
    done[target]      blocks of ours that the target has verified (written by the target)
    inbox[source]     SLOTS blocks: guard, piece, guard, piece, ..., guard

Exit status 0: every block that was sent was verified.  1: not so, or a rank failed or died.  130:
Ctrl-C.
"""

import argparse
import dataclasses
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

import memfabric_hybrid as mf
from memfabric_hybrid import bm

SLOTS = 2  # blocks under way for each pair
GUARD_WORDS = 8
GUARD = np.uint64(0xA5A5_5A5A_DEAD_BEEF)
FINAL = 1 << 63  # in arrived[] and done[]: no more will come
PATIENCE = 30.0  # seconds that a rank waits for a peer without progress
MAIL_BYTES = 16 * 1024  # arrived[1024], done[1024]
UNIT = 2 << 20  # what pool sizes are multiples of
HOST = bm.BmMemType.HOST


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Ranks pool memory and move KV blocks; every byte is verified."
    )
    parser.add_argument("--ranks", type=int, default=4, help="processes (default 4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to send (default 5)")
    parser.add_argument(
        "--pattern", choices=("ring", "all-to-all", "one-to-all", "random"), default="all-to-all"
    )
    parser.add_argument(
        "--block-layers", type=int, default=61, help="layers of a block (default 61)"
    )
    parser.add_argument(
        "--sizes", default="131072,16384", help="bytes of a layer's pieces (default 131072,16384)"
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="rank 0 flips one byte of its third block, to see it found",
    )
    parser.add_argument(
        "--hosts",
        type=lambda names: names.split(","),
        default=[],
        metavar="NAME,...",
        help="network namespaces to start the ranks in, in turn (see scripts/hosts)",
    )
    parser.add_argument(
        "--listen",
        default="127.0.0.1",
        help="address that the store is served at (default 127.0.0.1)",
    )
    # set for the processes that this one starts
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        options.piece_bytes = [int(size) for size in options.sizes.split(",")]
    except ValueError:
        parser.error(f"--sizes {options.sizes}: numbers with commas between them")
    if not 2 <= options.ranks <= 1024:
        parser.error(f"--ranks {options.ranks}: 2 to 1024")
    if options.block_layers < 1 or any(size < 8 or size % 8 for size in options.piece_bytes):
        parser.error("at least one layer, and pieces of a multiple of 8 bytes")
    return options


def targets_of(rank: int, ranks: int, pattern: str) -> list[int]:
    """The ranks that `rank` sends to."""
    if pattern == "ring":
        return [(rank + 1) % ranks]
    if pattern == "one-to-all":
        return [r for r in range(ranks) if r != 0] if rank == 0 else []
    return [r for r in range(ranks) if r != rank]


class Block:
    """The shape of a block in an inbox, in 8-byte words, and the pattern that fills it."""

    def __init__(self, layers: int, piece_bytes: list[int]):
        self.layers = layers
        self.piece_words = [size // 8 for size in piece_bytes]
        self.layer_words = sum(self.piece_words) + GUARD_WORDS * len(self.piece_words)
        self.words = layers * self.layer_words + GUARD_WORDS
        self.data_bytes = layers * sum(piece_bytes)
        # Every word of a block has its own value before the block's seed is added.
        self.ramp = np.arange(layers * self.layer_words, dtype=np.uint64) * np.uint64(
            0x9E37_79B9_7F4A_7C15
        )
        self.ramp = self.ramp.reshape(layers, self.layer_words)
        begins = np.cumsum([GUARD_WORDS] + [words + GUARD_WORDS for words in self.piece_words[:-1]])
        self.pieces = [slice(int(b), int(b) + w) for b, w in zip(begins, self.piece_words)]
        layer_offsets = np.arange(layers, dtype=np.uint64)[:, None] * np.uint64(
            self.layer_words * 8
        )
        self.offsets = (layer_offsets + begins.astype(np.uint64) * np.uint64(8)).reshape(-1)
        self.sizes = np.tile(np.array(piece_bytes, dtype=np.uint64), layers)
        self.scratch = np.empty((layers, self.layer_words), dtype=np.uint64)

    def layer_view(self, words: np.ndarray) -> np.ndarray:
        return words[: self.layers * self.layer_words].reshape(self.layers, self.layer_words)

    def guards(self, words: np.ndarray) -> list[np.ndarray]:
        layers = self.layer_view(words)
        return [layers[:, p.start - GUARD_WORDS : p.start] for p in self.pieces] + [
            words[-GUARD_WORDS:]
        ]

    def fill(self, words: np.ndarray, seed: np.uint64) -> None:
        np.add(self.ramp, seed, out=self.layer_view(words))

    def count_wrong(self, words: np.ndarray, seed: np.uint64) -> int:
        """Words that differ from the pattern, or from the guard around the pieces."""
        np.subtract(self.layer_view(words), self.ramp, out=self.scratch)
        wrong = sum(int(np.count_nonzero(self.scratch[:, piece] != seed)) for piece in self.pieces)
        return wrong + sum(int(np.count_nonzero(guard != GUARD)) for guard in self.guards(words))


def seed_of(source: int, target: int, number: int) -> np.uint64:
    return np.uint64(((source << 52) ^ (target << 40) ^ number) * 0xD6E8_FEB8_6659_FD93 % 2**64)


# --------------------------------------------------------------------------------
# one rank


class RankError(Exception):
    """The rank can't go on; the text says why."""


def check(code: int, what: str) -> None:
    if code != 0:
        raise RankError(f"{what}: {mf.get_last_err_msg()}")


@dataclasses.dataclass
class Outgoing:
    address: int  # of our inbox at the target
    path: str  # asked while both ranks are there
    put: int = 0
    finished: bool = False
    microseconds: list[float] = dataclasses.field(default_factory=list)


class Rank:
    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.rank = options.rank
        self.ranks = options.ranks
        self.block = Block(options.block_layers, options.piece_bytes)
        self.inbox_bytes = SLOTS * self.block.words * 8
        self.sources = [
            r for r in range(self.ranks) if self.rank in targets_of(r, self.ranks, options.pattern)
        ]
        self.verified = dict.fromkeys(self.sources, 0)
        self.sources_finished: set[int] = set()
        self.wrong_blocks = 0
        self.local = np.empty(self.block.words, dtype=np.uint64)
        self.word = np.zeros(1, dtype=np.uint64)
        self.last_report = 0.0
        self._join()

    def _join(self) -> None:
        config = bm.BmConfig()
        config.rank_id = self.rank
        config.start_store = False  # the process that started us serves it
        config.init_timeout = config.create_timeout = config.operation_timeout = 30
        check(bm.initialize(self.options.store, self.ranks, 0, config), "initialize")
        pool_bytes = -(-(MAIL_BYTES + self.ranks * self.inbox_bytes) // UNIT) * UNIT
        self.pool = bm.create(0, pool_bytes)
        mine = np.frombuffer(self.pool.view(self.rank, HOST), dtype=np.uint64)
        self.arrived, self.done = mine[:1024], mine[1024:2048]
        self.inbox = mine[MAIL_BYTES // 8 :]
        for source in self.sources:
            for slot in range(SLOTS):
                for guard in self.block.guards(self.inbox_slot(source, slot)):
                    guard[...] = GUARD
        check(self.pool.join(), "join")
        self._wait_for_everybody()
        self.outgoing = {
            target: Outgoing(
                self.pool.peer_rank_ptr(target, HOST) + MAIL_BYTES + self.rank * self.inbox_bytes,
                self.pool.path(target),
            )
            for target in targets_of(self.rank, self.ranks, self.options.pattern)
        }

    def _wait_for_everybody(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (here := len(self.pool.members())) < self.ranks:
            if time.monotonic() > deadline:
                raise RankError(f"{here} of {self.ranks} ranks joined within {PATIENCE:.0f} s")
            time.sleep(0.002)

    def inbox_slot(self, source: int, slot: int) -> np.ndarray:
        begin = (source * SLOTS + slot) * self.block.words
        return self.inbox[begin : begin + self.block.words]

    def tell(self, peer: int, index: int, value: int) -> None:
        """Writes one word of the mail at the beginning of the peer's slot."""
        self.word[0] = value
        address = self.pool.peer_rank_ptr(peer, HOST) + 8 * index
        check(
            self.pool.copy_data(self.word, address, 8, bm.BmCopyType.H2GH),
            f"copy of 8 bytes to rank {peer}",
        )

    def send(self, target: int) -> None:
        out = self.outgoing[target]
        self.block.fill(self.local, seed_of(self.rank, target, out.put))
        if self.options.flip and self.rank == 0 and out.put == 2:
            self.local.view(np.uint8)[
                GUARD_WORDS * 8 + 12345 % (8 * self.block.piece_words[0])
            ] ^= 1
        sources = self.block.offsets + np.uint64(self.local.ctypes.data)
        targets = self.block.offsets + np.uint64(
            out.address + out.put % SLOTS * self.block.words * 8
        )
        begin = time.perf_counter()
        code = self.pool.copy_data_batch(
            sources, targets, self.block.sizes, len(sources), bm.BmCopyType.H2GH
        )
        out.microseconds.append((time.perf_counter() - begin) * 1e6)
        check(code, f"copy of a block to rank {target}")
        out.put += 1
        self.tell(target, self.rank, out.put)  # a copy is seen after this thread's earlier ones

    def receive(self, source: int) -> bool:
        """Verifies what has arrived from `source`; False when nothing has."""
        word = int(self.arrived[source])
        count = word & ~FINAL
        if self.verified[source] < count:
            while self.verified[source] < count:
                number = self.verified[source]
                wrong = self.block.count_wrong(
                    self.inbox_slot(source, number % SLOTS), seed_of(source, self.rank, number)
                )
                if wrong:
                    self.wrong_blocks += 1
                    report(
                        error=f"block {number} of rank {source} has {wrong} wrong words at rank "
                        f"{self.rank}"
                    )
                self.verified[source] += 1
            self.tell(source, 1024 + self.rank, count)
            return True
        if word & FINAL and source not in self.sources_finished:
            self.sources_finished.add(source)
            self.tell(source, 1024 + self.rank, word)
            return True
        return False

    def step(self, sending: bool) -> bool:
        """Sends and receives what can be now; False when there was nothing to do."""
        moved = False
        for source in self.sources:
            moved |= self.receive(source)
        targets = list(self.outgoing)
        if sending and self.options.pattern == "random" and targets:
            targets = [random.choice(targets)]
        for target in targets:
            out = self.outgoing[target]
            if sending and out.put - (int(self.done[target]) & ~FINAL) < SLOTS:
                self.send(target)
                moved = True
            elif not sending and not out.finished:
                self.tell(target, self.rank, out.put | FINAL)
                out.finished = moved = True
        return moved

    def run(self) -> None:
        end = time.monotonic() + self.options.seconds
        moved_at = time.monotonic()
        while not self.is_complete():
            now = time.monotonic()
            if self.step(sending=now < end):
                moved_at = now
            elif now - moved_at > PATIENCE:
                raise RankError(f"nothing has come for {PATIENCE:.0f} s")
            else:
                time.sleep(20e-6)
            if now - self.last_report > 0.1:
                self.last_report = now
                report(blocks=sum(self.verified.values()))
        report(
            blocks=sum(self.verified.values()),
            result={
                "sent": {
                    t: {"blocks": o.put, "path": o.path, "us": o.microseconds}
                    for t, o in self.outgoing.items()
                },
                "verified": self.verified,
                "wrong_blocks": self.wrong_blocks,
            },
        )

    def is_complete(self) -> bool:
        """True when no rank will touch our memory again: all that we sent is acknowledged, and all
        that others send us is verified.
        """
        sent = all(
            o.finished and int(self.done[t]) == o.put | FINAL for t, o in self.outgoing.items()
        )
        return sent and len(self.sources_finished) == len(self.sources)


def report(**message: object) -> None:
    """One line of JSON to the process that started us."""
    print(json.dumps(message), flush=True)


def rank_main(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the starter, which ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        Rank(options).run()
    except BrokenPipeError:  # the starter is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (RankError, RuntimeError) as error:
        report(error=f"rank {options.rank}: {error}")
        return 1
    finally:
        bm.uninitialize()
    return 0


# --------------------------------------------------------------------------------
# the process that starts


class Ranks:
    """The rank processes: what they report, and their end."""

    def __init__(self, options: argparse.Namespace):
        self.hosts = options.hosts
        self.blocks = [0] * options.ranks
        self.results: dict[int, dict] = {}
        self.errors: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.partial = [b""] * options.ranks
        self.logs = [tempfile.TemporaryFile() for _ in range(options.ranks)]
        self.processes: list[subprocess.Popen] = []

    def start(self, store: str) -> None:
        for rank in range(len(self.blocks)):
            command = [
                sys.executable,
                os.path.abspath(__file__),
                *sys.argv[1:],
                "--rank",
                str(rank),
                "--store",
                store,
            ]
            if self.hosts:
                command = ["ip", "netns", "exec", self.hosts[rank % len(self.hosts)], *command]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.logs[rank]
            )
            self.processes.append(process)
            self.selector.register(process.stdout, selectors.EVENT_READ, rank)

    def poll(self, seconds: float) -> bool:
        """Takes in what the ranks report; False once all have ended."""
        for key, _ in self.selector.select(seconds):
            rank = key.data
            data = os.read(key.fd, 1 << 20)
            if not data:
                self.selector.unregister(key.fileobj)
                self.ended(rank, self.processes[rank].wait())
                continue
            *lines, self.partial[rank] = (self.partial[rank] + data).split(b"\n")
            for line in lines:
                self.take(rank, json.loads(line))
        return bool(self.selector.get_map())

    def take(self, rank: int, message: dict) -> None:
        self.blocks[rank] = message.get("blocks", self.blocks[rank])
        if "result" in message:
            self.results[rank] = message["result"]
        if "error" in message:
            self.errors.append(message["error"])

    def ended(self, rank: int, status: int) -> None:
        if status < 0:
            self.errors.append(f"rank {rank} was ended by {signal.Signals(-status).name}")
        elif status > 0 and not self.errors:
            self.errors.append(f"rank {rank} ended with status {status}")

    def failed(self) -> bool:
        return bool(self.errors)

    def stop(self) -> None:
        """Ends those that still run; returns when all are gone."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self.selector.close()

    def log_tail(self) -> str:
        text = []
        for rank, log in enumerate(self.logs):
            log.seek(0)
            text += [
                f"rank {rank}: {line}"
                for line in log.read().decode(errors="replace").splitlines()[-5:]
            ]
            log.close()
        return "\n".join(text)


def watch(
    ranks: Ranks, options: argparse.Namespace, block_bytes: int, interrupted: threading.Event
) -> None:
    """Shows progress until every rank has ended; after a failure the others get three seconds to
    say what they saw.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[moved]}"),
        TimeElapsedColumn(),
    )
    begin = failed_at = None
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("ranks are joining", total=options.seconds, moved="")
        while not interrupted.is_set() and ranks.poll(0.1):
            now = time.monotonic()
            blocks = sum(ranks.blocks)
            if begin is None and blocks:
                begin = now
            if begin is not None:
                progress.update(
                    task,
                    completed=min(now - begin, options.seconds),
                    description="moving blocks",
                    moved=f"{blocks} blocks, {blocks * block_bytes / 1e9:.1f} GB verified",
                )
            if ranks.failed():
                failed_at = failed_at or now
                if now - failed_at > 3:
                    return


def print_table(ranks: Ranks, options: argparse.Namespace, block_bytes: int) -> bool:
    """Prints who reached whom, by which path, how fast. True: all that was sent was verified."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"KV blocks of {options.block_layers} x ({options.sizes}) bytes, "
        f"{block_bytes / 2**20:.1f} MiB each"
    )
    for name in ("from", "to", "path", "blocks", "GB", "GB/s", "p50 us", "p99 us", "verified"):
        table.add_column(name, justify="left" if name == "path" else "right")
    complete = len(ranks.results) == options.ranks
    total = 0
    for source, result in sorted(ranks.results.items()):
        for target, sent in result["sent"].items():
            verified = ranks.results.get(int(target), {}).get("verified", {}).get(str(source), 0)
            complete &= verified == sent["blocks"]
            if not sent["blocks"]:
                continue
            times = np.array(sent["us"])
            size = sent["blocks"] * block_bytes
            total += size
            table.add_row(
                str(source),
                target,
                sent["path"],
                str(sent["blocks"]),
                f"{size / 1e9:.2f}",
                f"{size / times.sum() / 1e3:.1f}",
                f"{np.percentile(times, 50):.0f}",
                f"{np.percentile(times, 99):.0f}",
                "all" if verified == sent["blocks"] else f"{verified} only",
            )
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    wrong = sum(result["wrong_blocks"] for result in ranks.results.values())
    complete &= wrong == 0 and total > 0
    console.print(
        f"{total / 1e9:.2f} GB moved; "
        + ("every byte verified" if complete else f"NOT VERIFIED, {wrong} wrong blocks")
    )
    console.print(
        "GB/s, p50 and p99 are of the copies themselves, without making and checking the pattern.",
        style="dim",
    )
    return complete


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def main() -> int:
    options = parse_arguments()
    if options.rank is not None:
        return rank_main(options)
    # A flag, not KeyboardInterrupt: that could come between the start of a rank and the note of its
    # pid.
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    store = f"tcp://{options.listen}:{free_port(options.listen)}"
    if mf.create_config_store(store) != 0:
        print(f"kv_pool: {mf.get_last_err_msg()}", file=sys.stderr)
        return 1
    where = f" on {len(options.hosts)} hosts" if options.hosts else ""
    print(
        f"{options.ranks} ranks{where}, {options.pattern}, {options.seconds:g} s; the store is "
        f"{store}, an etcd to etcdctl"
    )
    block_bytes = options.block_layers * sum(options.piece_bytes)
    ranks = Ranks(options)
    try:
        ranks.start(store)
        watch(ranks, options, block_bytes, interrupted)
    finally:
        ranks.stop()
        mf.uninitialize()
    if interrupted.is_set():
        print("interrupted; nothing is left behind", file=sys.stderr)
        return 130
    verified = print_table(ranks, options, block_bytes)
    for error in ranks.errors:
        print(f"kv_pool: {error}", file=sys.stderr)
    tail = ranks.log_tail()
    if ranks.failed() and tail:
        print(tail, file=sys.stderr)
    return 0 if verified and not ranks.failed() else 1


if __name__ == "__main__":
    sys.exit(main())
