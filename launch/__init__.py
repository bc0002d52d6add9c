"""The launcher: runs ``engine.train`` and ``engine.evaluate`` here or on SLURM, through submitit."""
