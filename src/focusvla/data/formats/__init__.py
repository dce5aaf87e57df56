"""Data sets as they are stored: one reader a format, behind `opening.open_source`; LeRobot v3.0 is also written."""
