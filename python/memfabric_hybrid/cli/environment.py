"""The environment variables that the library reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterator


@dataclass(frozen=True)
class Variable:
    """One of them; `value` is what it is set to, None when it isn't."""

    name: str
    meaning: str

    @property
    def value(self) -> str | None:
        return os.environ.get(self.name)


VARIABLES = (
    Variable(
        "MEMFABRIC_LOG_LEVEL",
        "what is logged: 0 debug, 1 info, 2 warn, 3 error (as without it), 4 off",
    ),
    Variable("ASCEND_MF_LOG_LEVEL", "the same, when MEMFABRIC_LOG_LEVEL is not set"),
    Variable("MF_LOG_LEVEL", "the same, when neither of those is set"),
    Variable("ASCEND_MF_STORE_URL", "the url that launch_ascend_mf_store serves, tcp://host:port"),
    Variable("MF_CONFIG_STORE_URL", "the same, when ASCEND_MF_STORE_URL is not set"),
    Variable(
        "ACCLINK_CHECK_PERIOD_HOURS",
        "hours between checks of the certificates for their end, 24 to 720 (168)",
    ),
    Variable(
        "ACCLINK_CERT_CHECK_AHEAD_DAYS",
        "days before a certificate's end that a warning is logged, 7 to 180 (30)",
    ),
    Variable(
        "MEMFABRIC_STRICT",
        "1: create() fails when this machine lacks the path or NUMA node asked for",
    ),
    Variable(
        "MEMFABRIC_DATA_TLS", "1: what goes between hosts is encrypted; set it on all ranks alike"
    ),
    Variable(
        "MEMFABRIC_PEER_TIMEOUT",
        "seconds that a transfer waits for a peer to appear, 1 to 3600; 5 without it",
    ),
    Variable(
        "MEMFABRIC_SPIN_US",
        "how long a TCP transfer is polled for before it is slept for: 0 to 1000 microseconds, 50 "
        "when unset",
    ),
    Variable(
        "MEMFABRIC_GVA_BASE",
        "where pools are placed in the address space, when the usual place is taken",
    ),
    Variable(
        "MEMFABRIC_HOST_ID",
        "names this host: processes with the same name take each other for neighbours",
    ),
    Variable(
        "MEMFABRIC_ALLOW_UIDS",
        "other users of this host who may share in the job, as numbers: 1001,1002",
    ),
    Variable(
        "MEMFABRIC_POPULATE", "1: memory is taken when it is contributed, not at the first touch"
    ),
    Variable(
        "MEMFABRIC_ORPHAN_SECONDS",
        "how long the memory of a rank that died stays mapped, 0 to 86400; 60 without it",
    ),
    Variable(
        "MEMFABRIC_RAISE_NOFILE",
        "0: RLIMIT_NOFILE stays as it is, instead of being raised to its hard limit",
    ),
    Variable(
        "MEMFABRIC_DUMP_MEMORY",
        "1: core dumps hold pools' memory too, peers' included, and allocate all of it",
    ),
    Variable(
        "MEMFABRIC_STORE_QUOTA",
        "what may stand in the store that this process serves: bytes, or as in 256M (64M)",
    ),
    Variable("MEMFABRIC_STREAM_BYTES", "copies of this size and more bypass the caches"),
)


def unknown() -> Iterator[str]:
    """Variables that begin with MEMFABRIC_ but mean nothing: most likely misspelt."""
    known = {variable.name for variable in VARIABLES}
    return (
        name for name in sorted(os.environ) if name.startswith("MEMFABRIC_") and name not in known
    )
