"""What several parts use: environment report, whole writes, devices, threads, number formats."""
