"""Demonstrations from where a policy errs: it plays, a scripted expert takes over, and the rest is recorded."""
