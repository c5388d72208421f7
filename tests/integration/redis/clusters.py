"""A Redis Cluster of this machine: nodes that a test may stop, kill, add and move slots between."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import redis
import redis.exceptions

from gateway.admission.cluster_trust import mark_of
from gateway.storage.embedded.redis import find_redis
from gateway.storage.hash_slots import SLOTS, slot_of
from gateway.storage.redis_tick import NAME_LENGTH
from tests.ports import HOST, free_port

WITHIN_S = 60.0
OFTEN_S = 0.01


class Node:
    """One server of a cluster, in cluster mode from its start."""

    def __init__(self, folder: Path, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(folder),
            "save": "",
            "unixsocket": str(folder / "s"),
            "cluster-enabled": "yes",
            "cluster-node-timeout": "500",
            "cluster-require-full-coverage": "no",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self.process: subprocess.Popen[bytes] | None = None
        password = self.options.get("requirepass")
        self.operator = redis.Redis(unix_socket_path=str(folder / "s"), password=password, socket_timeout=30)

    def start(self) -> Node:
        command = [str(find_redis())]
        for name, value in self.options.items():
            command += [f"--{name}", *(value.split() or [""])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: self._answers())
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server does not start"
        try:
            return bool(self.operator.ping())
        except (redis.exceptions.RedisError, OSError):
            return False

    def command(self, *args: object) -> Any:
        return self.operator.execute_command(*args)  # type: ignore[no-untyped-call]  # redis-py has no types here

    def cluster(self, *args: object) -> Any:
        return self.command("CLUSTER", *args)

    @property
    def id(self) -> str:
        return str(self.cluster("MYID").decode())

    @property
    def info(self) -> dict[str, str]:
        return dict(line.partition(":")[::2] for line in self.cluster("INFO").decode().splitlines())

    def kill(self) -> None:
        """Returns when it is dead."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.operator.close()


class Cluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder, self.options = folder, options
        self.nodes = [Node(folder / str(number), **options) for number in range(3)]

    @property
    def url(self) -> str:
        places = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        password = self.options.get("requirepass")
        return f"redis+cluster://{f':{password}@' if password else ''}{places}"

    def start(self) -> Cluster:
        for number, node in enumerate(self.nodes):
            node.start().cluster("SET-CONFIG-EPOCH", number + 1)
            first, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
            node.cluster("ADDSLOTS", *range(first, end))
        for node in self.nodes[1:]:
            node.cluster("MEET", HOST, self.nodes[0].port)
        until(lambda: all(self._knows_all(node) for node in self.nodes))
        return self

    def _knows_all(self, node: Node) -> bool:
        info = node.info
        return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS)

    def add(self, *, replica_of: Node | None = None) -> Node:
        """One more node, without slots."""
        node = Node(self.folder / str(len(self.nodes)), **self.options).start()
        self.nodes.append(node)
        node.cluster("MEET", HOST, self.nodes[0].port)
        count = str(len(self.nodes))
        until(lambda: all(one.info["cluster_known_nodes"] == count for one in self.nodes))
        until(lambda: node.info["cluster_state"] == "ok")
        if replica_of is not None:
            until(lambda: replica_of.id in node.cluster("NODES").decode())
            node.cluster("REPLICATE", replica_of.id)
            until(lambda: node.operator.info("replication").get("master_link_status") == "up")
        return node

    def owner(self, key: str) -> Node:
        """Who has the slot of a key, as the nodes that live see it."""
        slot, nodes = slot_of(key), {node.port: node for node in self.nodes}
        living = next(node for node in self.nodes if node.process and node.process.poll() is None)
        for first, last, primary, *_ in living.cluster("SLOTS"):
            if first <= slot <= last:
                return nodes[primary[1]]
        raise AssertionError("nobody has it")

    def begin_move(self, slot: int, source: Node, target: Node) -> None:
        """From now on keys of the slot are where they are, new ones at the target."""
        target.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: Node, target: Node, most: int = 100_000) -> int:
        """Some keys of the slot; how many."""
        keys = source.cluster("GETKEYSINSLOT", slot, most)
        if keys:
            secret = self.options.get("requirepass")
            auth = ["AUTH", secret] if secret else []
            source.command("MIGRATE", HOST, target.port, "", 0, 10_000, *auth, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, target: Node) -> None:
        """Everybody knows that it is the target's."""
        for node in [target, *self.nodes]:
            node.cluster("SETSLOT", slot, "NODE", target.id)
        # Who moves the next slot to another node before all know this epoch may have both claimed under one.
        until(lambda: len({node.info["cluster_current_epoch"] for node in self.nodes}) == 1)

    def vouch_for(self, tag: str) -> None:
        """The slot of an account, as the control process does when it has rebuilt its counters."""
        node = self.owner(f"{{{tag}}}")
        name = str(node.operator.info("server")["run_id"])[:NAME_LENGTH]
        node.operator.set(mark_of(slot_of(tag)), name)

    def unvouch(self, tag: str) -> None:
        """Forget that."""
        self.owner(f"{{{tag}}}").operator.delete(mark_of(slot_of(tag)))

    def flush(self) -> None:
        for node in self.nodes:
            node.operator.flushall()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()


def until(check: Any) -> None:
    end_s = time.monotonic() + WITHIN_S
    while not check():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(OFTEN_S)
