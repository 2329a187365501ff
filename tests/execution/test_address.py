"""Which Ray is meant, that an address where nothing answers is refused at once, and that a silent head is given up."""

import socket
from types import SimpleNamespace

import pytest

from orchestrator.errors import JobError, RunError
from orchestrator.execution import address as addresses
from orchestrator.execution.address import RECONNECT, Head, cluster_address


@pytest.fixture
def no_ray_address(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_local_means_a_ray_of_its_own_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert cluster_address("local") is None


def test_no_address_means_this_machine(no_ray_address):
    assert cluster_address(None) is None
    assert cluster_address("local") is None


def test_ray_address_is_honoured_and_named_in_the_error(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(JobError, match=r"RAY_ADDRESS: nothing answers at 127\.0\.0\.1:1"):
        cluster_address(None)


def test_an_address_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert cluster_address(address) == address
        assert cluster_address(f"ray://{address}") == f"ray://{address}"


@pytest.mark.parametrize("address", ["head", "host:port", "127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_without_a_cluster_is_refused(address, no_ray_address):
    with pytest.raises(JobError, match="--address"):
        cluster_address(address)


def test_head_that_falls_silent_is_waited_for_and_then_given_up(monkeypatch):
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(addresses, "time", SimpleNamespace(monotonic=lambda: now.s))
    monkeypatch.setenv(RECONNECT, "40")
    with socket.create_server(("127.0.0.1", 0)) as server:
        head = Head(f"127.0.0.1:{server.getsockname()[1]}")
        now.s = 200.0
        assert head.answers()
    now.s = 229.0
    assert not head.answers()
    assert not head.is_given_up
    now.s = 258.0
    assert not head.answers()
    now.s = 260.0
    with pytest.raises(RunError, match=r"^the head of the Ray cluster at 127\.0\.0\.1:\d+ has not answered for 31 s; "):
        head.answers()
    assert head.is_given_up


def test_head_that_comes_back_is_waited_for_anew(monkeypatch):
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(addresses, "time", SimpleNamespace(monotonic=lambda: now.s))
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    head = Head(f"127.0.0.1:{port}")
    server.close()
    now.s = 40.0
    assert not head.answers()
    now.s = 45.0
    with socket.create_server(("127.0.0.1", port)):
        assert head.answers()
    now.s = 80.0
    assert not head.answers()
