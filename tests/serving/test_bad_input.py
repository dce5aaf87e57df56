"""Whatever bytes come, the server names what is wrong, goes on, and gives nobody another's chunk."""

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focusvla.suites.libero import libero_spec
from focusvla_client.wire import pack
from serving_policies import ServingThread, ask, conversation, native, observed, refusal

GOOD = observed(libero_spec(32))
FIELDS = ("images", "state", "prompt", "request_id")
NOT_AN_ARRAY = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5), st.binary(max_size=5)
)


def array_map(**changes):
    """An array of eight float32 as the wire has it, with changes."""
    values = {"__ndarray__": True, "data": bytes(32), "dtype": "<f4", "shape": [8], **changes}
    return {key.encode(): value for key, value in values.items()}


def nested(depth: int):
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


PACKABLE_INTEGERS = st.integers(-(2**63), 2**64 - 1)
SHAPES = st.lists(st.integers(0, 40), max_size=4).map(tuple)
DTYPES = st.sampled_from(["u1", "i4", "f2", "f4", "f8", "?"])
ARRAYS = st.builds(lambda shape, dtype: np.zeros(shape, dtype), SHAPES, DTYPES)
BAD_STATES = st.one_of(
    NOT_AN_ARRAY,
    ARRAYS.filter(lambda array: array.shape != (8,) or array.dtype.kind != "f"),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e300]).map(lambda value: np.array([0.0] * 7 + [value])),
)
BAD_PICTURES = st.one_of(NOT_AN_ARRAY, ARRAYS.filter(lambda array: array.shape != (32, 32, 3)))
BAD_MARKS = st.one_of(st.floats(), st.binary(max_size=5), st.just("x" * 201), st.booleans(), st.just(2**63))
# Encoded arrays that no client of numpy's can make.
BAD_ARRAYS = st.sampled_from(
    [
        array_map(dtype="|O"),
        array_map(dtype="|V32"),
        array_map(dtype="<c8"),
        array_map(dtype="nonsense"),
        array_map(shape=[9]),
        array_map(shape=[2**62, 4]),
        array_map(shape=[-8]),
        array_map(shape="8"),
        array_map(data="text"),
    ]
)


@st.composite
def bad_requests(draw):
    """Bytes, and a word that the refusal must have."""
    message = native(GOOD, mark=1)
    field = draw(
        st.sampled_from([*FIELDS, "missing", "unknown", "camera", "encoded", "truncated", "nested", "bytes"])
    )
    if field == "state":
        message["state"] = draw(BAD_STATES)
    elif field == "prompt":
        message["prompt"] = draw(
            st.one_of(st.none(), PACKABLE_INTEGERS, st.just(""), st.just("a" * 1001), ARRAYS)
        )
    elif field == "request_id":
        message["request_id"] = draw(BAD_MARKS)
    elif field == "images":
        camera = draw(st.sampled_from(["image", "image2"]))
        message["images"] = {**message["images"], camera: draw(BAD_PICTURES)}
        return pack(message), f"images['{camera}']"
    elif field == "missing":
        missing = draw(st.sampled_from(FIELDS[:3]))
        del message[missing]
        return pack(message), f"missing: '{missing}'"
    elif field == "unknown":
        name = draw(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=9))
        return pack({**message, f"other {name}": 1}), "unknown: 'other "
    elif field == "camera":
        images = dict(message["images"])
        if draw(st.booleans()):
            images[draw(st.sampled_from(["third", "Image", ""]))] = images["image"]
        else:
            del images[draw(st.sampled_from(["image", "image2"]))]
        return pack({**message, "images": images}), "images: expected the cameras image, image2"
    elif field == "encoded":
        return msgpack.packb({"state": draw(BAD_ARRAYS)}), "array: "
    elif field == "truncated":
        whole = pack(message)
        return whole[: draw(st.integers(0, len(whole) - 1))], "message: "
    elif field == "nested":
        return msgpack.packb({"state": nested(draw(st.integers(3, 1000)))}), ""
    elif field == "bytes":
        return draw(st.binary(max_size=64)), ""
    return pack(message), field


@pytest.fixture(scope="module")
def server(policy):
    with ServingThread(policy, max_batch_wait_seconds=0.0) as server:
        yield server


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request=bad_requests(), number=st.integers(0, 5))
def test_a_bad_request_is_refused_by_name_and_the_next_client_gets_its_own_chunk(
    server, policy, request, number
):
    data, expected = request
    with conversation(server.address) as connection:
        text, code = refusal(connection, data)
    assert code == 1011
    assert expected in text
    assert len(text) < 1000
    good = observed(policy.spec, number)
    with conversation(server.address) as connection:
        answer = ask(connection, native(good, mark=number))
    assert answer["request_id"] == number
    np.testing.assert_allclose(answer["actions"], policy.infer(good), atol=1e-5)
