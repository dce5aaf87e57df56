"""A flat world in numpy, brought as another package would bring a simulator: a table with two discs, and a hand."""
