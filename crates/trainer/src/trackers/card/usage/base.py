import torch
from diffusers import CogView4Pipeline, CogView4Transformer2DModel

dtype = torch.float32
transformer = CogView4Transformer2DModel.from_pretrained("path/to/model", torch_dtype=dtype)
pipe = CogView4Pipeline.from_pretrained("path/to/pipeline", transformer=transformer, torch_dtype=dtype)
pipe.to("cuda" if torch.cuda.is_available() else "cpu")

image = pipe(
    "a prompt",
    height=64,
    width=64,
    num_inference_steps=50,
    guidance_scale=3.5,
    max_sequence_length=128,
    generator=torch.Generator("cpu").manual_seed(0),
).images[0]
image.save("cogview4.png")
