"""Characters: those that the recogniser can read, and their numbers."""
