"""Training: the student and its teacher, the data they learn from, and the loop."""
