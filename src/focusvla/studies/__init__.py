"""Comparisons of designs over several trainings each: planned in a file, carried out, and said with intervals."""
