"""Scripted experts and the recording of what they do."""
