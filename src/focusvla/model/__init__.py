"""The paper's model. Touches no files, data sets or simulators."""
