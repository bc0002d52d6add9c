"""What a cluster offers and takes: SLURM's commands, partitions, options and job dependencies."""
