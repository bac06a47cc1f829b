"""The names of an autoencoder's parts; without torch, so that settings can list them."""

from __future__ import annotations

from typing import Literal, get_args

Network = Literal["bcae1", "bcae2", "pooled", "dcgan"]
Convolution = Literal["plain", "asymmetric", "attention"]

NETWORKS: tuple[str, ...] = get_args(Network)
CONVOLUTIONS: tuple[str, ...] = get_args(Convolution)
#: Channel attention behind activations.
POSTS = (None, "se")
#: Attention on the input.
GATES = (None, "sa", "ssa")
#: `prior` leaves the code as it is; a discriminator beside the network pushes it towards a Gaussian in training.
CODES = ("plain", "noise", "distorter", "memory", "prior")
