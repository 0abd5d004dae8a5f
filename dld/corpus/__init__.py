"""Millions of pictures read by many processes, on one machine or several, into Parquet files; needs the extra `ray`."""
