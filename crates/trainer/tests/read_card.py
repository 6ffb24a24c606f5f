"""Reads a model card as the Hub's own library does, and runs the Python program in it: CARD PROMPT."""

import re
import sys

from huggingface_hub import ModelCard, metadata_load

path, prompt = sys.argv[1:]
card = ModelCard.load(path)
data = card.data.to_dict()
assert data == {
    "library_name": "diffusers",
    "license": "other",
    "pipeline_tag": "text-to-image",
    "inference": True,
    "tags": ["cogview4", "cogview4-diffusers", "text-to-image", "diffusers", "control", "diffusers-training"],
    "widget": [{"text": prompt, "output": {"url": "images_0.png"}}],
}, data
assert metadata_load(path) == data
# What the library writes again is read as the same.
assert ModelCard(str(card)).data.to_dict() == data

program = re.search(r"^(`{3,})python\n(.*?)^\1$", card.text, re.MULTILINE | re.DOTALL).group(2)
exec(compile(program, "card", "exec"), {})
