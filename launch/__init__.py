"""The launcher: runs ``engine.train`` and ``engine.evaluate`` locally or on SLURM, through submitit."""
