"""BmConfig: what may be assigned, what initialize says of it, and set_nic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import memfabric_hybrid as mf
from memfabric_hybrid import bm
from rank import Rank, free_url

NUMBERS = ("init_timeout", "create_timeout", "operation_timeout", "rank_id", "flags")
FLAGS = (
    "start_store",
    "start_store_only",
    "dynamic_world_size",
    "unified_address_space",
    "auto_ranking",
    "data_tls",
)


def test_a_new_config_has_the_documented_values() -> None:
    config = bm.BmConfig()
    assert {name: getattr(config, name) for name in (*NUMBERS, *FLAGS, "nic")} == {
        "init_timeout": 120,
        "create_timeout": 120,
        "operation_timeout": 120,
        "rank_id": 65535,
        "flags": 0,
        "start_store": True,
        "start_store_only": False,
        "dynamic_world_size": False,
        "unified_address_space": True,
        "auto_ranking": False,
        "data_tls": False,
        "nic": "",
    }


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", [None, "1", 1.5, []], ids=repr)
def test_numbers_take_ints_only(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError):
        setattr(bm.BmConfig(), name, wrong)


@pytest.mark.parametrize("name", FLAGS)
def test_flags_take_truth_values_only(name: str) -> None:
    config = bm.BmConfig()
    for value in (True, False, 1, 0, np.True_, np.False_, np.int8(3), None, 1 << 70):
        setattr(config, name, value)
        assert getattr(config, name) is bool(value)
    for wrong in ("yes", "", 1.0, [], {}, np.zeros(1), object()):
        with pytest.raises(TypeError):
            setattr(config, name, wrong)


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(AttributeError):
        bm.BmConfig().init_timeuot = 3


@pytest.mark.parametrize("name", ["init_timeout", "create_timeout", "operation_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, 1 << 32, 1 << 80, -(1 << 80)])
def test_timeouts_out_of_range_are_reported_by_initialize(
    name: str, seconds: int, fresh: Rank
) -> None:
    assert fresh(f"init('{free_url()}', 1, 0, {name}={seconds})") == mf.ErrorCode.INVALID_PARAM
    assert name in fresh("mf.get_last_err_msg()")


@pytest.mark.parametrize(
    "setting",
    ["unified_address_space=False", "rank_id=1", "rank_id=-1", "rank_id=1 << 40", "flags=-1"],
)
def test_other_settings_that_initialize_refuses(setting: str, fresh: Rank) -> None:
    assert fresh(f"init('{free_url()}', 1, 0, {setting})") == mf.ErrorCode.INVALID_PARAM
    assert setting.partition("=")[0] in fresh("mf.get_last_err_msg()")


@pytest.mark.parametrize("world_size", [0, 1025, -1, 1 << 32])
def test_world_sizes_that_initialize_refuses(world_size: int, fresh: Rank) -> None:
    assert fresh(f"init('{free_url()}', {world_size}, 0)") == mf.ErrorCode.INVALID_PARAM
    message = fresh("mf.get_last_err_msg()")
    assert "world_size" in message and str(world_size) in message


GOOD_NICS = [
    "tcp://10.0.0.1:1",
    "tcp://10.0.0.1:65535",
    "tcp://0.0.0.0:80",
    "tcp://0.0.0.0/0:10005",
    "tcp://192.168.1.0/24:9000",
    "tcp://[::]:80",
    "tcp://[fe80::1]/64:80",
    "tcp://10.0.0.1:0",
    "tcp://[::1]:0",
    "tcp://10.0.0.1",
    "tcp://10.0.0.0/8",
    "tcp://[fe80::1%eth0]:80",
    "eth0,eth1",
    "tcp://10.0.0.1:0,eth1",
    "eth0",
    "enp0s31f6",
    "bond0.100",
    "a" * 15,
    "",
]
BAD_NICS = [
    "tcp://",
    "tcp://10.0.0.1:",
    "tcp://:80",
    "tcp://[::1",
    "tcp://[fe80::1%]:80",
    "eth0,",
    ",",
    "eth0,,eth1",
    "tcp://10.0.0.1:65536",
    "tcp://10.0.0.1:x",
    "tcp://10.0.0.256:1",
    "tcp://10.0.0.1/33:1",
    "tcp://10.0.0.1/-1:1",
    "tcp://10.0.0.1/:1",
    "tcp://[::1]/129:1",
    "tcp://::1:80",
    "tcp://host:80",
    "tcp://10.0.0.1:+80",
    "udp://10.0.0.1:80",
    "eth 0",
    "a/b",
    "a" * 16,
    "eth0\0",
    "eth0:1",
    "tcp://10.0.0.1:" + "0" * 60 + "1",
]


@pytest.mark.parametrize("nic", GOOD_NICS)
def test_set_nic_takes(nic: str) -> None:
    config = bm.BmConfig()
    config.set_nic(nic)
    assert config.nic == nic


@pytest.mark.parametrize("nic", BAD_NICS)
def test_set_nic_refuses(nic: str) -> None:
    config = bm.BmConfig()
    config.set_nic("eth0")
    with pytest.raises(ValueError, match="nic"):
        config.set_nic(nic)
    assert config.nic == "eth0"


def test_nic_limit_is_63_bytes() -> None:
    with pytest.raises(ValueError, match="64 bytes long, the limit is 63"):
        bm.BmConfig().set_nic("a" * 64)
    with pytest.raises(TypeError):
        bm.BmConfig().set_nic(1)


def test_repr_names_what_is_set() -> None:
    config = bm.BmConfig()
    config.rank_id = 3
    config.set_nic("eth0")
    assert "rank_id=3" in repr(config)
    assert "nic='eth0'" in repr(config)
