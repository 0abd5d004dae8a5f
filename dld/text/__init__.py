"""Characters: what the recogniser can read and how it is numbered."""
