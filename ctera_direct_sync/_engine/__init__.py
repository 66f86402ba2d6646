"""Which block is downloaded next, and by which thread: scheduler, transfers, worker loop, tuner."""
