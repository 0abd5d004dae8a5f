"""What the card says of single large characters is what the weights read."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from dld import TextSpotter, model_zoo

CARD = Path(model_zoo.__file__).with_name("README.md")
CHARACTERS = "0123456789ABEIJLT"


def picture_of(character: str) -> Image.Image:
    """One character in the middle of a picture, as on a house, a shirt, a parking bay."""
    image = Image.new("RGB", (640, 480), (235, 235, 230))
    font = ImageFont.load_default(size=200)
    ImageDraw.Draw(image).text((270, 110), character, font=font, fill=(20, 20, 90))
    return image


@pytest.mark.slow
def test_the_card_says_how_many_single_characters_are_read():
    said = re.search(r"Of (\d+) digits and capitals (.*?)\(`pytest", CARD.read_text(encoding="utf-8"), re.DOTALL)
    counts = {name: int(count) for name, count in re.findall(r"`(\w+)`(?: reads)? (\d+)", said[2])}
    assert int(said[1]) == len(CHARACTERS) and len(counts) == 2
    for name, count in counts.items():
        spotter = TextSpotter.from_pretrained(name, device="cpu")
        read = [[word.text for word in spotter(picture_of(character)).words] for character in CHARACTERS]
        assert sum(words == [character] for character, words in zip(CHARACTERS, read, strict=True)) == count, name
