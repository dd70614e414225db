"""FSDP's first version (``FullyShardedDataParallel``): one flat parameter for all of a layer.

Read in torch/distributed/fsdp/_runtime_utils.py and _flat_param.py (PyTorch 2.13), whose functions
are named here. Weights are gathered into the flat parameter, of which they are views: nothing is
copied out. Autograd joins their gradients into one before it is reduced.
"""

from __future__ import annotations

from ..layer import Layer
from .communication import arrived
from .fsdp2 import FullyShard


class FlatParameters(FullyShard):
    """The communication of all flat parameters of one GPU.

    `gathered` is what was gathered ahead; forward gathers nothing ahead, and holds nothing.
    """

    def before_forward(self, layer: Layer) -> None:
        """Gather a layer's weights (``_pre_forward_unshard``)."""
        self.sizes[layer] = self._sizes(layer)
        layer.whole = self._gather(self.sizes[layer])

    def begin_backward(self, outside: Layer) -> None:
        """Gather ahead for the first layer to run backward."""
        self._gather_ahead()

    def before_backward(self, layer: Layer) -> None:
        """Take what was gathered ahead, and gather ahead for the next (``BACKWARD_PRE``)."""
        layer.whole = self.gathered
        self.order.pop()
        self._gather_ahead()

    def after_backward(self, layer: Layer) -> None:
        """Join the gradients, free the whole weights and reduce (``_post_backward_hook``)."""
        self._give_up(layer)

    def _give_up(self, layer: Layer) -> None:
        gpus, grads = self.sharding.parameters, arrived(layer)
        if not grads:
            layer.whole = None
            return
        elements = sum(self.sharding.share(p, gpus).size for p, _ in grads)
        whole = grads[0][1].whole
        assert whole is not None
        dtype = whole.dtype
        del whole
        joined = self.buffer("gradients joined", gpus * elements, dtype)
        for _, leaf in grads:
            leaf.whole = None
        layer.whole = None
        self._hand_out(grads, elements, self.sharding.reduce or dtype)
        del joined
