"""An SO-101 arm with FocusVLA: LeRobot's robot class behind focusvla's loop of a fixed rate."""
