"""Where a found word's two sides run: locators by name."""

# Only for what these imports register.
from dld.modeling.recognition.locators import point_locator as point_locator
from dld.modeling.recognition.locators import scrn as scrn
