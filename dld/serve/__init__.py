"""A server that reads pictures sent by HTTP; needs the optional extra `serve`."""
