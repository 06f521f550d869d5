"""The network of `tests/common/mod.rs`."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, (3, 2))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(torch.relu(self.conv(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(2, 4), Block(4, 6)])
        self.group = nn.GroupNorm(2, 6)
        self.embedding = nn.Embedding(11, 5)
        self.fc = nn.Linear(6 + 5, 7)
        self.norm = nn.LayerNorm(7)
        self.head = nn.Linear(7, 3)

    def forward(self, image, words):
        for block in self.blocks:
            image = block(image)
        image = self.group(image).mean((2, 3))
        x = self.fc(torch.cat([image, self.embedding(words).mean(1)], 1))
        return self.head(torch.relu(self.norm(x)))


def agree(what, found, expected, tolerance, scale=None, roundings=0):
    """Whether the largest difference is at most `tolerance` of the largest number (of `scale`).

    Each of `roundings` may set a number off by one unit in its last place besides.
    """
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    largest = (expected if scale is None else scale).abs().max().item()
    difference = (found - expected).abs().max().item()
    assert largest > 1e-6, (what, "is zero")
    rounded = roundings * torch.finfo(torch.float32).eps * expected.abs().max().item()
    assert difference <= tolerance * largest + rounded, (what, difference, "of", largest)
    return difference / largest
