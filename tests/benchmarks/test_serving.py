"""The load on a server counts every client that fails."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from benchmark_scripts import script
from focusvla_client import Observation
from focusvla_client.wire import pack, unpack

serving = script("serving")
ACTIONS = np.zeros((2, 7), np.float32)
QUESTION = serving.Question(Observation({}, np.zeros(8, np.float32), "lift the cup"), ACTIONS)


def right(mark: int) -> bytes:
    return pack({"request_id": mark, "actions": ACTIONS})


def ask_two(second_answer: Callable[[int], str | bytes] | None) -> tuple[int, int]:
    """How many requests were lost and how many answers swapped for a client that is answered rightly and one that is
    answered otherwise, or not let in."""
    opened: list[ServerConnection] = []

    def let_in(connection: ServerConnection, request: Request) -> Response | None:
        opened.append(connection)
        return connection.respond(503, "full\n") if len(opened) > 1 and second_answer is None else None

    async def converse(connection: ServerConnection) -> None:
        await connection.send(pack({}))
        answer = right if connection is opened[0] or second_answer is None else second_answer
        async for frame in connection:
            assert isinstance(frame, bytes)
            await connection.send(answer(unpack(frame)["request_id"]))

    async def ask() -> tuple[int, int]:
        async with serve(converse, "127.0.0.1", 0, process_request=let_in) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            load = await serving.ask_all(f"ws://127.0.0.1:{port}", [QUESTION], 2, 0.05)
        return load.lost, load.swapped

    return asyncio.run(ask())


def test_a_client_that_is_answered_rightly_loses_nothing():
    assert ask_two(right) == (0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="not let in"),
        pytest.param(lambda mark: "queue: is full", id="refused"),
        pytest.param(lambda mark: b"\xc1", id="not msgpack"),
        pytest.param(lambda mark: pack({"request_id": mark}), id="no actions"),
    ],
)
def test_a_client_that_ends_without_an_answer_counts_as_lost(answer):
    assert ask_two(answer) == (1, 0)


def test_an_answer_to_another_request_counts_as_swapped():
    lost, swapped = ask_two(lambda mark: pack({"request_id": mark - 1, "actions": ACTIONS}))
    assert lost == 0
    assert swapped > 0


def test_a_server_that_answers_nobody_ends_the_measurement():
    with pytest.raises(SystemExit, match="answered none of 2 clients"):
        asyncio.run(serving.ask_all("ws://127.0.0.1:9", [QUESTION], 2, 0.05))
