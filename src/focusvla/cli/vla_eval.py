"""Serving a policy to another harness."""

from pathlib import Path

import tyro

from focusvla.cli.output import console, say, say_device
from focusvla.config import AS_STORED, AS_TRAINED, GivenPictures
from focusvla.config.checks import require


def serve_vla_eval(
    checkpoint: tyro.conf.Positional[Path],
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str = "auto",
    threads: int = 1,
    statistics: str | None = None,
    actions_per_inference: int = 8,
    max_batch: int = 1,
    max_batch_wait_seconds: float = 0.01,
    pictures: GivenPictures = AS_STORED,
) -> None:
    """Serve a LIBERO checkpoint to the evaluation harness vla-eval.

    Example: focusvla serve-vla-eval runs/mini

    The harness's own LIBERO benchmark then evaluates it: vla-eval run --config libero.yaml --no-docker, with a
    `server.url` of ws://127.0.0.1:8000. Needs the extra `vla-eval`.

    Args:
        checkpoint: A checkpoint, a run (its newest), or an installed one's name.
        host: Address to answer on. The protocol knows no keys: on another than this host's own, everyone can ask.
        port: Its port.
        device: Where the policy runs: `auto` (a GPU if there is one), `cpu`, `cuda` or another device of torch's.
        threads: Of the CPU, for one inference. Answers depend on it in their last bits; `focusvla evaluate` has one.
        statistics: Of a policy that was trained on a mixture: the part whose robot is simulated.
        actions_per_inference: Actions of each chunk that are carried out before the policy is asked again.
        max_batch: Sessions that the policy answers at once, at most.
        max_batch_wait_seconds: How long a question waits for others to share its batch.
        pictures: What the policy does to pictures, where its checkpoint says nothing of it.
    """
    import torch

    from focusvla.policy import load_policy
    from focusvla.serving.access import others_can_reach

    require(1 <= port <= 65535, "port", "1..65535", port)
    require(threads > 0, "threads", "a positive number", threads)
    require(max_batch > 0, "max_batch", "a positive number", max_batch)
    require(max_batch_wait_seconds >= 0, "max_batch_wait_seconds", "0 or more", max_batch_wait_seconds)
    if others_can_reach(host):
        console(stderr=True).print(
            f"warning: host={host!r}: others can reach this address, and the protocol knows no keys: everyone who does "
            "can ask. Answer on 127.0.0.1, or put a firewall in front.",
            soft_wrap=True,
        )
    from focusvla.serving.vla_eval import VLAEvalServer, serve_to_vla_eval  # needs the extra

    torch.set_num_threads(threads)
    server = VLAEvalServer(
        load_policy(checkpoint, say_device(device), statistics, pictures).prepare(AS_TRAINED),
        actions_per_inference=actions_per_inference,
        max_batch=max_batch,
        max_batch_wait_seconds=max_batch_wait_seconds,
    )
    say(f"answers vla-eval on ws://{host}:{port}; Ctrl-C stops it")
    serve_to_vla_eval(server, host, port)
