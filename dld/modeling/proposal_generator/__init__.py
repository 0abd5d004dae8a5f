"""Region proposals that know don't-care regions."""
