"""Load: a thousand users at once on a service as `milp up` starts it, and ten thousand queued jobs."""
