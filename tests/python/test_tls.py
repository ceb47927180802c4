"""TLS for the store, with an authority of the test's own, made by the openssl command."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Callable, Iterator

import pytest

import memfabric_hybrid as mf
from rank import Rank, free_url

INVALID = mf.ErrorCode.INVALID_PARAM
PASSWORD = "open sesame"


def openssl(*words: str, directory: pathlib.Path) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def make_authority(directory: pathlib.Path) -> None:
    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "30",
        "-subj",
        "/CN=Test CA",
        directory=directory,
    )


def make_certificate(directory: pathlib.Path, name: str, days: int = 30) -> None:
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
        "-subj",
        f"/CN={name}",
        directory=directory,
    )
    openssl(
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        f"{name}.pem",
        "-days",
        str(days),
        directory=directory,
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("ca")
    make_authority(directory)
    for name, days in (("one", 30), ("two", 30), ("old", -1)):
        make_certificate(directory, name, days)
    openssl(
        "pkcs8",
        "-topk8",
        "-in",
        "one.key",
        "-out",
        "locked.key",
        "-passout",
        f"pass:{PASSWORD}",
        directory=directory,
    )
    return directory


@pytest.fixture(autouse=True)
def tls_off() -> Iterator[None]:
    yield
    assert mf.set_conf_store_tls(False, "") == 0


def info(directory: pathlib.Path, name: str) -> str:
    return (
        f"tlsCaPath: {directory}; tlsCaFile: ca.pem; tlsCert: {directory / name}.pem; "
        "packagePath: /any;"
    )


def key(directory: pathlib.Path, name: str) -> str:
    return (directory / f"{name}.key").read_text()


def test_key_and_certificate_in_either_order(authority: pathlib.Path) -> None:
    assert mf.set_conf_store_tls(True, info(authority, "one")) == 0, mf.get_last_err_msg()
    assert mf.set_conf_store_tls_key(key(authority, "one"), "", None) == 0, mf.get_last_err_msg()
    assert mf.set_conf_store_tls(False, "") == 0
    assert mf.set_conf_store_tls_key(key(authority, "one"), "", None) == 0
    assert mf.set_conf_store_tls(True, info(authority, "one")) == 0


def test_the_password_is_decrypted(authority: pathlib.Path) -> None:
    assert mf.set_conf_store_tls(True, info(authority, "one")) == 0
    seen: list[str] = []

    def decrypt(cipher: str) -> str:
        seen.append(cipher)
        return cipher[::-1]

    assert mf.set_conf_store_tls_key(key(authority, "locked"), PASSWORD[::-1], decrypt) == 0, (
        mf.get_last_err_msg()
    )
    assert seen == [PASSWORD[::-1]]
    assert mf.set_conf_store_tls_key(key(authority, "locked"), PASSWORD, None) == 0


@pytest.mark.parametrize(
    ("name", "password", "decrypt", "why"),
    [
        ("locked", "wrong word", None, "password is wrong"),
        ("locked", PASSWORD, lambda text: "wrong word", "password is wrong"),
        ("locked", "", None, "no password"),
        ("two", "", None, "doesn't match the certificate"),
        ("locked", PASSWORD, lambda text: 1 / 0, "ZeroDivisionError"),
        ("locked", PASSWORD, lambda text: 3, "no str"),
    ],
)
def test_a_key_that_is_wrong(
    authority: pathlib.Path,
    name: str,
    password: str,
    decrypt: Callable[[str], str] | None,
    why: str,
) -> None:
    assert mf.set_conf_store_tls(True, info(authority, "one")) == 0
    assert mf.set_conf_store_tls_key(key(authority, name), password, decrypt) == INVALID
    message = mf.get_last_err_msg()
    assert why in message
    assert PASSWORD not in message and "wrong word" not in message


def test_no_key_at_all() -> None:
    assert mf.set_conf_store_tls_key("nonsense", "", None) == INVALID
    assert mf.set_conf_store_tls_key("", "", None) == INVALID


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "tlsCaPath is missing"),
        ("nonsense", "'nonsense'"),
        ("tlsKey: x;", "'tlsKey'"),
        ("tlsCaPath: /nowhere; tlsCaFile: ca.pem; tlsCert: x.pem;", "/nowhere/ca.pem"),
        ("x" * 10241, "at most 10240"),
    ],
)
def test_a_text_that_is_wrong(text: str, why: str) -> None:
    assert mf.set_conf_store_tls(True, text) == INVALID
    assert why in mf.get_last_err_msg()


def test_a_certificate_that_has_expired(authority: pathlib.Path) -> None:
    assert mf.set_conf_store_tls(True, info(authority, "old")) == INVALID
    assert "CN=old has expired on" in mf.get_last_err_msg()


def test_without_a_key_nothing_is_opened(authority: pathlib.Path) -> None:
    assert mf.set_conf_store_tls(True, info(authority, "one")) == 0
    assert mf.create_config_store(free_url()) == mf.ErrorCode.NOT_STARTED
    assert "set_conf_store_tls_key" in mf.get_last_err_msg()


def turn_on(rank: Rank, directory: pathlib.Path, name: str) -> None:
    assert rank(f"mf.set_conf_store_tls(True, {info(directory, name)!r})") == 0
    assert rank(f"mf.set_conf_store_tls_key({key(directory, name)!r}, '', None)") == 0


def test_ranks_meet(authority: pathlib.Path, start_rank: Callable[..., Rank]) -> None:
    url = free_url()
    ranks = [start_rank(), start_rank()]
    for number, rank in enumerate(ranks):
        turn_on(rank, authority, ("one", "two")[number])
        assert rank(f"init({url!r}, 2, {number})") == 0, rank("mf.get_last_err_msg()")
    plain = start_rank()
    assert plain(f"init({url!r}, 2, 1)") == INVALID
    assert "it speaks TLS" in plain("mf.get_last_err_msg()")


def test_a_stranger_is_refused(
    authority: pathlib.Path, start_rank: Callable[..., Rank], tmp_path: pathlib.Path
) -> None:
    make_authority(tmp_path)
    make_certificate(tmp_path, "stranger")
    url = free_url()
    host, stranger = start_rank(), start_rank()
    turn_on(host, authority, "one")
    assert host(f"mf.create_config_store({url!r})") == 0
    turn_on(stranger, tmp_path, "stranger")
    assert stranger(f"init({url!r}, 2, 1)") == INVALID
    assert "CN=one is signed by none of the authorities" in stranger("mf.get_last_err_msg()")


def test_a_forked_child_does_not_forget(authority: pathlib.Path) -> None:
    program = (
        "import os, sys, memfabric_hybrid as mf\n"
        f"assert mf.set_conf_store_tls(True, {info(authority, 'one')!r}) == 0\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    os._exit(0 if mf.create_config_store({free_url()!r}) == mf.ErrorCode.NOT_STARTED "
        f"else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
