"""Pictures, videos and report pages."""
