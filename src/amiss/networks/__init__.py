"""Networks and scorers as nn.Modules, without training; each file loads when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy

__getattr__, __dir__ = lazy.attach(__name__)

if TYPE_CHECKING:  # for type checkers alone
    from . import asymmetric as asymmetric
    from . import attention_convolution as attention_convolution
    from . import autoencoder as autoencoder
    from . import backbone as backbone
    from . import chain as chain
    from . import clip_scorers as clip_scorers
    from . import codes as codes
    from . import composed as composed
    from . import convolutional_recurrent as convolutional_recurrent
    from . import discriminator as discriminator
    from . import efficientnet_lite as efficientnet_lite
    from . import embedding as embedding
    from . import fusion as fusion
    from . import gates as gates
    from . import head as head
    from . import memory as memory
    from . import memory_bank as memory_bank
    from . import neighbours as neighbours
    from . import optical_flow as optical_flow
    from . import parts as parts
    from . import patch_scorer as patch_scorer
    from . import pyramid as pyramid
    from . import regressor as regressor
    from . import sphere as sphere
    from . import squeeze_excitation as squeeze_excitation
    from . import statistics as statistics
    from . import transformation_classifier as transformation_classifier
    from . import wgan as wgan
