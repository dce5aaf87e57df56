"""What simulators' tasks are: one row a suite, without a simulator."""

from focusvla.suites.protocol import Protocol
from focusvla.suites.published import PublishedRow, PublishedScores
from focusvla.suites.registry import (
    clean_suite,
    clean_task,
    conventions,
    playable_suite,
    protocol,
    protocol_of,
    protocols,
    suite_of,
    suites,
    task_in_variant,
)
from focusvla.suites.start import PERTURBED_SIZE, REGIONS, Perturbation, Start, Task
from focusvla.suites.suite import Conventions, Suite, Variant

__all__ = [
    "PERTURBED_SIZE",
    "REGIONS",
    "Conventions",
    "Perturbation",
    "Protocol",
    "PublishedRow",
    "PublishedScores",
    "Start",
    "Suite",
    "Task",
    "Variant",
    "clean_suite",
    "clean_task",
    "conventions",
    "playable_suite",
    "protocol",
    "protocol_of",
    "protocols",
    "suite_of",
    "suites",
    "task_in_variant",
]
