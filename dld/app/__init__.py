"""A page to try a spotter in the browser; needs the optional extra `app`."""
