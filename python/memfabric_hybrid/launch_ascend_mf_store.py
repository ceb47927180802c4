"""Serves a store at the url in the environment variable ASCEND_MF_STORE_URL (or
MF_CONFIG_STORE_URL) until SIGINT or SIGTERM.

ASCEND_MF_STORE_URL=tcp://0.0.0.0:8570 launch_ascend_mf_store
"""

import os
import signal
import sys

import memfabric_hybrid as mf


def main() -> int:
    """Returns the exit status: 0 after a signal, 1 when the store could not be served, 2 when no
    url is set.
    """
    url = os.environ.get("ASCEND_MF_STORE_URL") or os.environ.get("MF_CONFIG_STORE_URL")
    if not url:
        print(
            "ASCEND_MF_STORE_URL is not set: it names the url to serve, as tcp://0.0.0.0:8570",
            file=sys.stderr,
        )
        return 2
    ends = {signal.SIGINT, signal.SIGTERM}
    # Blocked before the library starts its threads, so that the signals wait for sigwait().
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    code = mf.create_config_store(url)
    if code:
        print(
            f"the store at {url} could not be served: {mf.get_last_err_msg()} "
            f"({mf.strerror(code)})",
            file=sys.stderr,
        )
        return 1
    print(f"serving the store at {url}", flush=True)
    signal.sigwait(ends)
    mf.uninitialize()
    return 0


if __name__ == "__main__":
    sys.exit(main())
