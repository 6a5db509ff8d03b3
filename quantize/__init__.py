"""Quantisation: a float checkpoint or artifact becomes INT8, or is refused."""
