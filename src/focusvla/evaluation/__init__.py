"""From a policy and a protocol to results."""
