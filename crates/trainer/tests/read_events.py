"""Prints, as JSON, what TensorBoard's own reader finds in a folder of event files: scalars, pictures, texts."""

import base64
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
print(
    json.dumps(
        {
            "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
            "images": {
                tag: [[e.step, base64.b64encode(e.encoded_image_string).decode()] for e in events.Images(tag)]
                for tag in tags["images"]
            },
            "texts": {
                tag: [e.tensor_proto.string_val[0].decode() for e in events.Tensors(tag)] for tag in tags["tensors"]
            },
        }
    )
)
