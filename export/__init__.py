"""Export: a checkpoint becomes an artifact, proved against the checkpoint."""
