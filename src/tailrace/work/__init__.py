"""How executions reach workers in other processes."""
