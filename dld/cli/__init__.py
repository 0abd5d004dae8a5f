"""One module a verb: each has `add_arguments(parser)`, `run(args)` and `main(argv=None) -> int`."""
