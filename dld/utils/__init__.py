"""What several parts use: drawing, environment report, cost analysis."""
