"""A policy behind a websocket, in openpi's protocol: any number of robots, one policy.

    client                                   server
    GET /healthz                             200 OK, or 503 while it drains
    GET /metrics                             Prometheus' text
    connects (Authorization: Api-Key KEY)    metadata: the policy's spec, cameras, chunk length
    images, state, prompt                    actions in physical units, warnings, timing
    anything wrong                           a text frame that says what, close 1011 (1013: come back later)

Nothing is listened to before the policy is warm. SIGTERM or Ctrl-C drains: accepted requests are answered, connections
are closed with 1001, and the process ends.
"""

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from websockets.asyncio.server import Server
from websockets.asyncio.server import serve as listen

from focusvla.config import ServingConfig
from focusvla.errors import ConfigurationError
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.serving.access import Gateway, Keys, require_safe_address
from focusvla.serving.batching import Batcher, in_parts
from focusvla.serving.conversation import Conversations
from focusvla.serving.metrics import ServingMetrics
from focusvla_client import Observation, Spec
from focusvla_client.stopping import heard_signals

_MEGABYTE = 1_000_000


def serve(checkpoint: Path, config: ServingConfig, on_ready: Callable[[str], None]) -> bool:
    """Serve the policy of a checkpoint, or of a training run's newest, until SIGTERM or Ctrl-C; `on_ready` gets the
    address once clients may connect. Returns whether every accepted request was answered; if not, an inference may still
    be running.

    Raises:
        ConfigurationError: the address is public and no key is set, the port is taken, or as `load_policy`.
        CheckpointError: as `load_policy`.
    """
    keys = Keys.from_environment()
    require_safe_address(config.host, keys)
    policy = load_policy(checkpoint, config.device, config.statistics, config.pictures)
    config = dataclasses.replace(config, threads=config.threads or policy.num_fitting_threads)
    torch.set_num_threads(config.threads)
    policy.prepare(config.inference)
    return asyncio.run(_serve_until_signal(policy, config, keys, on_ready))


async def _serve_until_signal(
    policy: FocusVLAPolicy, config: ServingConfig, keys: Keys, on_ready: Callable[[str], None]
) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    heard = heard_signals()

    def begin_to_stop() -> None:
        for each in heard:  # a second one acts as ever
            loop.remove_signal_handler(each)
        stop.set()

    def listen_to_signals(address: str) -> None:
        for each in heard:
            loop.add_signal_handler(each, begin_to_stop)
        on_ready(address)

    return await serve_policy(policy, config, keys, stop, listen_to_signals)


async def serve_policy(
    policy: FocusVLAPolicy,
    config: ServingConfig,
    keys: Keys,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
) -> bool:
    """Serve `policy` until `stop` is set, then drain. Returns whether every accepted request was answered.

    Raises:
        ConfigurationError: the port is taken or may not be used.
    """
    metrics = ServingMetrics()
    conversations = Conversations(policy, config, metrics)
    gateway = Gateway(keys, metrics, conversations.draining.is_set)
    logger = logging.getLogger(f"{__name__}.websockets")
    logger.setLevel(logging.CRITICAL)  # it would log keys, and a traceback for each port scan
    infer = in_parts(policy.infer_batch, config.parts or _num_parts(config, policy.device))
    async with Batcher(infer, config, metrics, lambda: len(conversations)) as batcher:
        try:
            server = await listen(
                partial(conversations.hold, batcher=batcher),
                config.host,
                config.port,
                origins=[None],  # no pages of browsers, which may reach what only this machine can
                process_request=gateway.process_request,
                server_header="focusvla",
                compression=None,
                max_size=int(config.max_message_megabytes * _MEGABYTE),
                max_queue=1,
                ping_interval=config.ping_seconds,
                ping_timeout=config.ping_seconds,
                close_timeout=config.slow_reader_seconds,
                logger=logger,
                start_serving=False,
            )
        except OSError as error:
            raise ConfigurationError(
                f"port={config.port}: cannot be opened at {config.host} ({error.strerror}). Choose another."
            ) from error
        async with server:
            await batcher.warm_up(_blank_observation(policy.spec), _sizes_to_warm_up(config, policy.device))
            await server.start_serving()
            on_ready(_address(server))
            await stop.wait()
            return await conversations.drain()


def _num_parts(config: ServingConfig, device: torch.device) -> int:
    """As many as there are cores for on a CPU."""
    num_cores = len(os.sched_getaffinity(0))
    return max(1, num_cores // max(1, config.threads)) if device.type == "cpu" else 1


def _sizes_to_warm_up(config: ServingConfig, device: torch.device) -> Sequence[int]:
    """The largest first, which needs the most memory. Compilers and accelerators choose their kernels for every size;
    otherwise only the very first inference takes longer on a CPU."""
    knows_sizes = device.type != "cpu" or config.inference.compiled
    return range(config.max_batch, 0, -1) if knows_sizes else (config.max_batch, 1)


def _blank_observation(spec: Spec) -> Observation:
    return Observation(
        images={each.name: np.zeros((each.height, each.width, 3), np.uint8) for each in spec.cameras},
        state=np.zeros(len(spec.state), np.float32),
        instruction="pick up the bowl and place it on the plate",
    )


def _address(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
