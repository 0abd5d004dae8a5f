"""One module a verb: each has `add_arguments(parser)` and `main(argv=None) -> int`."""
