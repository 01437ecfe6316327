"""Reports of a run: each reads the journal, the verdicts and the claims register, and nothing else."""
