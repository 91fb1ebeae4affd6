"""Where sets of data are kept."""

HOME = "DIFFEO_DATA"
"""The variable of the environment that names the folder where sets of data are kept."""
