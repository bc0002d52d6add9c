"""From a request to a running job: plan, checks, snapshot, script and executors."""
