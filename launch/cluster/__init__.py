"""SLURM: commands, partitions, options and job dependencies."""
