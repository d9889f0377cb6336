"""Weights from anywhere: whatever a training left behind -> a state dict that fits a module, or the reason why not.

Expects: .safetensors, what torch.save wrote (.pt .pth .ckpt .bin) with the wrappers of the usual frameworks, or a Hugging Face
    folder.
Produces: tensors under the module's own names; .safetensors; notes for a person about every choice that was made.
Never: runs code from a file.
"""

from builder.checkpoints.files import State, read
from builder.checkpoints.fitting import fitted, load, save

__all__ = ["State", "fitted", "load", "read", "save"]
