"""The models that come with Tamis: weights as safetensors, each with its card."""
