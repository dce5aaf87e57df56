"""What no recording of an expert may hold."""

from dataclasses import replace

import numpy as np

from focusvla.demonstrations.recording import holds_a_switch
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec


def test_a_gripper_that_obeys_the_sign_may_not_be_told_0():
    action = np.zeros((3, 7), np.float32)
    action[:, 6] = -1, 1, -1
    assert not holds_a_switch(action, libero_spec(32))
    action[1, 6] = 0
    assert holds_a_switch(action, libero_spec(32))
    assert not holds_a_switch(action, replace(libero_spec(32), gripper="absolute"))
    assert not holds_a_switch(np.zeros((3, 14)), aloha_spec(32))  # 0 is closed
