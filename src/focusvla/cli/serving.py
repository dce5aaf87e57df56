"""Serving from the command line."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from focusvla.cli.output import say, say_device
from focusvla.config import ServingConfig

_SERVING = ServingConfig()


def serve(
    checkpoint: tyro.conf.Positional[Path],
    config: Annotated[ServingConfig, tyro.conf.arg(name="")] = _SERVING,
) -> None:
    """Serve a checkpoint to robots, over openpi's websocket protocol.

    Example: focusvla serve runs/mini --port 8000

    Robots ask with `focusvla_client.websocket.WebsocketPolicy`, or with openpi-client, as in openpi's LIBERO example.
    GET /healthz tells whether it is up, GET /metrics what it does, for Prometheus. Keys of which a client must have one
    come from the environment: FOCUSVLA_API_KEY, several separated by commas. They cross the network as they are: put TLS
    in front. SIGTERM or Ctrl-C answers what was accepted and ends.

    Args:
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        config: Where, how, and within which limits.
    """
    from focusvla.serving.server import serve as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    config = replace(config, device=say_device(config.device))
    has_answered_all = run(checkpoint, config, lambda address: say(f"serving {checkpoint} at {address}"))
    if not has_answered_all:
        logging.error("drain_seconds=%g: over, with requests unanswered", config.drain_seconds)
        os._exit(1)  # an ordinary exit would wait for the inference
