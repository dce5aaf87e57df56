"""A server answers many clients with their own chunks, and outlives whatever they do."""

import dataclasses
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from websockets import Origin
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.uri import parse_uri

from focusvla.errors import ConfigurationError
from focusvla_client import Observation, SpecMismatchError
from focusvla_client.errors import AccessDeniedError
from focusvla_client.websocket import WebsocketPolicy
from focusvla_client.wire import pack, unpack
from serving_policies import (
    ServerProcess,
    ServingThread,
    WatchedPolicy,
    ask,
    bytes_of,
    closing_code,
    conversation,
    native,
    observed,
    refusal,
)

MARK = 0.3125
"""Every number of a marked observation's state; exact in float32."""


def get(address: str, path: str, key: str = "") -> tuple[int, str]:
    request = urllib.request.Request(address.replace("ws://", "http://") + path)
    if key:
        request.add_header("Authorization", f"Api-Key {key}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def figure(address: str, name: str) -> float:
    lines = get(address, "/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name) and line[len(name)] in " {")


def until(condition, seconds: float = 10.0) -> bool:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.02)
    return condition()


def test_the_first_frame_says_what_the_policy_expects_and_gives(policy):
    with ServingThread(policy) as server, connect(server.address) as connection:
        metadata = unpack(bytes_of(connection.recv(10)))
    assert (metadata["server"], metadata["warm"], metadata["chunk_length"]) == ("focusvla", True, 4)
    assert metadata["cameras"] == ["image", "image2"]
    assert metadata["spec"]["gripper"] == policy.spec.gripper


def test_an_answer_is_what_the_policy_infers_with_mark_and_timing(policy):
    observation = observed(policy.spec)
    with ServingThread(policy) as server, conversation(server.address) as connection:
        first = ask(connection, native(observation, mark=7))
        second = ask(connection, native(observation, mark="again"))
    np.testing.assert_allclose(first["actions"], policy.infer(observation), atol=1e-5)
    assert (first["actions"].dtype, first["request_id"], second["request_id"]) == (np.float32, 7, "again")
    assert first["warnings"] == []
    assert set(first["server_timing"]) == {"infer_ms", "queue_ms"}
    assert second["server_timing"]["prev_total_ms"] >= first["policy_timing"]["infer_ms"] > 0


def test_our_own_client_asks_and_compares_conventions(policy, two_armed_policy):
    observation = observed(policy.spec)
    with ServingThread(policy) as server:
        with WebsocketPolicy(port=server.port, spec=policy.spec) as remote:
            np.testing.assert_allclose(remote.infer(observation), policy.infer(observation), atol=1e-5)
            assert remote.warnings == []
        with pytest.raises(SpecMismatchError, match="action_space"):
            WebsocketPolicy(port=server.port, spec=two_armed_policy.spec)


def test_many_clients_at_once_each_get_their_own_chunk_in_joint_batches(policy):
    observations = [observed(policy.spec, number) for number in range(12)]
    expected = [policy.infer(each) for each in observations]
    apart = min(np.abs(a - b).max() for i, a in enumerate(expected) for b in expected[:i])
    assert apart > 1e-3  # else a swap would not be seen

    def one_client(number: int) -> None:
        with conversation(server.address) as connection:
            for turn in range(5):
                answer = ask(connection, native(observations[number], mark=100 * number + turn))
                assert answer["request_id"] == 100 * number + turn
                np.testing.assert_allclose(answer["actions"], expected[number], atol=1e-5)

    with ServingThread(policy, max_batch_wait_seconds=0.05) as server:
        with ThreadPoolExecutor(12) as clients:
            list(clients.map(one_client, range(12)))
        assert figure(server.address, "focusvla_requests_total") == 60
        assert figure(server.address, "focusvla_batch_size_count") < 60
        assert until(lambda: figure(server.address, "focusvla_connections") == 0)


def marked(observation: Observation) -> Observation:
    """The same, recognizable by the policy of a test."""
    return dataclasses.replace(observation, state=np.full_like(observation.state, MARK))


def is_marked(observation: Observation) -> bool:
    return bool((observation.state == np.float32(MARK)).all())


def test_health_metrics_and_pings_answer_while_the_policy_computes(policy):
    computing, go_on = threading.Event(), threading.Event()

    def before(observations):
        if is_marked(observations[0]):
            computing.set()
            go_on.wait(20)

    with ServingThread(WatchedPolicy(policy, before)) as server, conversation(server.address) as connection:
        connection.send(pack(native(marked(observed(policy.spec)))))
        assert computing.wait(10)
        assert get(server.address, "/healthz") == (200, "OK\n")
        assert "focusvla_connections 1.0" in get(server.address, "/metrics")[1]
        assert connection.ping().wait(5)
        go_on.set()
        assert unpack(bytes_of(connection.recv(10)))["actions"].shape == (4, 7)


def test_a_request_that_the_policy_fails_on_is_refused_and_its_batch_is_answered(policy):
    def before(observations):
        if any(map(is_marked, observations)):
            raise RuntimeError("a bolt is loose")

    others = [observed(policy.spec, number) for number in range(3)]
    with (
        ServingThread(WatchedPolicy(policy, before), max_batch_wait_seconds=5.0) as server,
        ExitStack() as stack,
    ):
        connections = [stack.enter_context(conversation(server.address)) for _ in range(4)]
        for connection, observation in zip(connections, [marked(others[0]), *others], strict=True):
            connection.send(pack(native(observation)))  # the fourth completes the batch
        for connection, observation in zip(connections[1:], others, strict=True):
            answer = unpack(bytes_of(connection.recv(10)))
            np.testing.assert_allclose(answer["actions"], policy.infer(observation), atol=1e-5)
        text = connections[0].recv(10)
        assert text == (
            "inference: failed in the server (RuntimeError: a bolt is loose); its log has the traceback."
        )
        assert closing_code(connections[0]) == 1011
        assert figure(server.address, "focusvla_batch_size_sum") == 4
        assert 'focusvla_errors_total{kind="inference"} 1.0' in get(server.address, "/metrics")[1]


def test_actions_that_are_not_finite_are_no_answer(policy):
    class Diverged(WatchedPolicy):
        def infer_batch(self, observations):
            chunks = super().infer_batch(observations)
            chunks[[is_marked(each) for each in observations]] = np.nan
            return chunks

    diverged = Diverged(policy, lambda observations: None)
    with (
        ServingThread(diverged) as server,
        conversation(server.address) as one,
        conversation(server.address) as other,
    ):
        text, code = refusal(one, pack(native(marked(observed(policy.spec)))))
        assert "actions are not finite" in text
        assert code == 1011
        assert ask(other, native(observed(policy.spec)))["actions"].shape == (4, 7)


def test_a_key_is_asked_for_before_anything_is_said(policy):
    with ServingThread(policy, "first-key", "second-key") as server:
        for key in ("", "first-ke", "first-key2", "first-key,second-key"):
            with pytest.raises(InvalidStatus) as refused, conversation(server.address, key):
                pass
            assert refused.value.response.status_code == 401
            assert get(server.address, "/metrics", key)[0] == 401
        for key in ("first-key", "second-key"):
            with conversation(server.address, key) as connection:
                assert ask(connection, native(observed(policy.spec)))["actions"].shape == (4, 7)
        assert get(server.address, "/healthz")[0] == 200
        assert get(server.address, "/metrics", "second-key")[0] == 200
        with pytest.raises(AccessDeniedError):
            WebsocketPolicy(port=server.port, api_key="wrong")


def test_a_page_in_a_browser_is_not_let_in(policy):
    with (
        ServingThread(policy) as server,
        pytest.raises(InvalidStatus) as refused,
        connect(server.address, origin=Origin("http://example.com")),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_one_client_too_many_is_told_so_and_may_come_later(policy):
    with ServingThread(policy, max_connections=1) as server:
        with conversation(server.address) as connection:
            with connect(server.address) as other:
                assert "connections: expected at most 1" in str(other.recv(10))
                assert closing_code(other) == 1013
            assert ask(connection, native(observed(policy.spec)))["actions"].shape == (4, 7)
        assert until(lambda: figure(server.address, "focusvla_connections") == 0)
        with conversation(server.address) as connection:
            assert ask(connection, native(observed(policy.spec)))["actions"].shape == (4, 7)


def test_a_request_too_many_for_the_queue_is_refused_at_once(policy):
    computing, go_on = threading.Event(), threading.Event()

    def before(observations):
        if is_marked(observations[0]):
            computing.set()
            go_on.wait(20)

    request = pack(native(observed(policy.spec)))
    with (
        ServingThread(WatchedPolicy(policy, before), max_queue=1, max_batch=1) as server,
        conversation(server.address) as first,
        conversation(server.address) as second,
        conversation(server.address) as third,
    ):
        first.send(pack(native(marked(observed(policy.spec)))))
        assert computing.wait(10)
        second.send(request)
        assert until(lambda: figure(server.address, "focusvla_queue_length") == 1)
        text, code = refusal(third, request)
        assert ("queue: expected at most 1" in text, code) == (True, 1013)
        go_on.set()
        for connection in (first, second):
            assert unpack(bytes_of(connection.recv(10)))["actions"].shape == (4, 7)


def test_a_message_over_the_limit_closes_its_own_connection_only(policy):
    with ServingThread(policy, max_message_megabytes=0.1) as server:
        with conversation(server.address) as large, conversation(server.address) as small:
            large.send(bytes(200_000))
            assert closing_code(large) == 1009
            assert ask(small, native(observed(policy.spec)))["actions"].shape == (4, 7)
        assert 'focusvla_errors_total{kind="size"} 1.0' in get(server.address, "/metrics")[1]


def test_a_client_that_reads_nothing_is_cut_off(policy):
    class Verbose(WatchedPolicy):
        def infer_batch(self, observations):
            return super().infer_batch(observations).repeat(2000, axis=1)

    verbose = Verbose(policy, lambda observations: None)
    with ServingThread(verbose, slow_reader_seconds=0.5) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.settimeout(60)
        deaf.connect(("127.0.0.1", server.port))
        protocol = ClientProtocol(parse_uri(server.address), max_size=None)
        protocol.send_request(protocol.connect())
        deaf.sendall(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING:
            protocol.receive_data(deaf.recv(200))
        protocol.send_binary(pack(native(observed(policy.spec))))
        requests = 2_000 * b"".join(protocol.data_to_send())
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            deaf.sendall(requests)
        assert 'focusvla_errors_total{kind="slow_reader"} 1.0' in get(server.address, "/metrics")[1]
        with conversation(server.address) as connection:
            assert ask(connection, native(observed(policy.spec)))["actions"].shape == (8000, 7)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGKILL, ""), (signal.SIGSTOP, "unresponsive")])
def test_a_client_that_dies_or_goes_silent_in_the_middle_of_a_message_is_let_go(policy, number, kind):
    with ServingThread(policy, ping_seconds=1.0, slow_reader_seconds=1.0) as server:
        half = Path(__file__).with_name("send_half_a_request.py")
        client = subprocess.Popen([sys.executable, half, server.address], stdout=subprocess.PIPE)
        assert client.stdout is not None
        with client.stdout, conversation(server.address) as connection:
            assert client.stdout.readline() == b"half\n"
            assert figure(server.address, "focusvla_connections") == 2
            client.send_signal(number)
            assert until(lambda: figure(server.address, "focusvla_connections") == 1)
            assert ask(connection, native(observed(policy.spec)))["actions"].shape == (4, 7)
        client.kill()
        client.wait()
        assert not kind or f'focusvla_errors_total{{kind="{kind}"}} 1.0' in get(server.address, "/metrics")[1]


def test_a_draining_server_answers_what_it_took_and_nothing_else(policy):
    computing, go_on = threading.Event(), threading.Event()

    def before(observations):
        if is_marked(observations[0]):
            computing.set()
            go_on.wait(20)

    with (
        ServingThread(WatchedPolicy(policy, before)) as server,
        conversation(server.address) as busy,
        conversation(server.address) as idle,
    ):
        busy.send(pack(native(marked(observed(policy.spec)))))
        assert computing.wait(10)
        server.begin_to_drain()
        assert closing_code(idle) == 1001
        assert get(server.address, "/healthz") == (503, "draining\n")
        with pytest.raises(InvalidStatus) as refused, connect(server.address):
            pass
        assert refused.value.response.status_code == 503
        go_on.set()
        assert unpack(bytes_of(busy.recv(10)))["actions"].shape == (4, 7)
        assert closing_code(busy) == 1001
    assert server.answered_all is True


def count_answers(address: str, request: bytes, asked: threading.Event) -> tuple[int, int | None]:
    """Ask again and again; the number of answers, and the code with which the server closes the connection."""
    answers = 0
    with conversation(address) as connection:
        try:
            while True:
                connection.send(request)
                asked.set()
                assert unpack(bytes_of(connection.recv(20)))["actions"].shape == (4, 7)
                answers += 1
        except ConnectionClosed:
            return answers, connection.protocol.close_code


def test_requests_that_arrive_with_the_signal_are_answered(policy):
    request = pack(native(marked(observed(policy.spec))))
    waiting, sent = threading.Event(), threading.Event()
    with ServingThread(policy) as server, ExitStack() as stack:
        connections = [stack.enter_context(conversation(server.address)) for _ in range(4)]
        server.begin_to_drain(after=lambda: (waiting.set(), sent.wait(10)))
        assert waiting.wait(10)
        for connection in connections:
            connection.send(request)
            connection.send(request)
        sent.set()
        for connection in connections:
            for _ in range(2):
                assert unpack(bytes_of(connection.recv(10)))["actions"].shape == (4, 7)
            assert closing_code(connection) == 1001
    assert server.answered_all is True


@pytest.mark.slow
def test_no_request_that_was_read_is_lost_in_many_drains_under_load(policy):
    request = pack(native(marked(observed(policy.spec))))
    for _ in range(20):
        read: list[Observation] = []
        counting = WatchedPolicy(policy, lambda batch, read=read: read.extend(filter(is_marked, batch)))
        asked = [threading.Event() for _ in range(6)]
        with ServingThread(counting) as server, ThreadPoolExecutor(6) as clients:
            asking = [clients.submit(count_answers, server.address, request, event) for event in asked]
            assert all(event.wait(10) for event in asked)
            server.begin_to_drain(after=lambda: time.sleep(0.01))
            ended = [each.result() for each in asking]
        assert sum(answers for answers, _ in ended) == len(read)
        assert {code for _, code in ended} == {1001}
        assert server.answered_all is True


@pytest.mark.slow
def test_sigterm_under_load_loses_no_accepted_request_and_ends_with_0(checkpoint, policy):
    request = pack(native(observed(policy.spec)))

    def ask_until_closed(address: str) -> tuple[int, int | None]:
        answers = 0
        with conversation(address) as connection:
            try:
                while True:
                    connection.send(request)
                    assert unpack(bytes_of(connection.recv(20)))["actions"].shape == (4, 7)
                    answers += 1
            except ConnectionClosed:
                return answers, connection.protocol.close_code

    with ServerProcess(checkpoint) as server, ThreadPoolExecutor(8) as clients:
        asking = [clients.submit(ask_until_closed, server.address) for _ in range(8)]
        assert until(lambda: figure(server.address, "focusvla_requests_total") > 100, 30)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
        assert all(answers > 0 and code == 1001 for answers, code in (each.result() for each in asking))


@pytest.mark.slow
def test_a_drain_ends_in_time_when_an_inference_does_not(policy):
    go_on = threading.Event()

    def before(observations):
        if is_marked(observations[0]):
            go_on.wait(20)

    with (
        ServingThread(WatchedPolicy(policy, before), drain_seconds=0.5) as server,
        conversation(server.address) as connection,
    ):
        connection.send(pack(native(marked(observed(policy.spec)))))
        assert until(lambda: figure(server.address, "focusvla_requests_total") == 1)
        began = time.monotonic()
        server.begin_to_drain()
        with pytest.raises(ConnectionClosed):
            connection.recv(10)
        assert time.monotonic() - began < 8
        go_on.set()
    assert server.answered_all is False


@pytest.mark.slow
def test_a_killed_and_restarted_server_is_found_again_by_our_client(checkpoint, policy):
    observation = observed(policy.spec)
    with ServerProcess(checkpoint) as server:
        client = WebsocketPolicy(port=server.port, spec=policy.spec, attempts=8)
        np.testing.assert_allclose(client.infer(observation), policy.infer(observation), atol=1e-5)
        server.stop(signal.SIGKILL)
    with client, ServerProcess(checkpoint, port=server.port):
        np.testing.assert_allclose(client.infer(observation), policy.infer(observation), atol=1e-5)


def test_a_taken_port_is_an_error_before_the_policy_warms_up(policy):
    with (
        ServingThread(policy) as server,
        pytest.raises(ConfigurationError, match=f"port={server.port}: cannot"),
    ):
        ServingThread(policy, port=server.port).__enter__()
