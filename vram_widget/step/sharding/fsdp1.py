"""FSDP's first version (``FullyShardedDataParallel``): one flat parameter for all of a layer.

Read in torch/distributed/fsdp/_runtime_utils.py and _flat_param.py (PyTorch 2.13), whose functions
are named here. Weights are all-gathered into the flat parameter, of which they are views: nothing
is copied out. Autograd concatenates their gradients before they are reduced.
"""

from __future__ import annotations

from ..layer import Layer
from .fsdp2 import FullyShard, Group, unsharded


class FlatParameters(FullyShard):
    """The communication of all flat parameters of one GPU.

    `all_gather_output` is what backward prefetched; forward prefetches nothing, and holds nothing.
    """

    #: ``_init_streams``; autograd joins gradients in the default one.
    copy_in_stream = "pre_unshard"
    all_gather_stream = "unshard"
    reduce_stream = "post_backward"

    def pre_forward(self, layer: Layer | Group) -> None:
        """All-gather a layer's weights (``_pre_forward_unshard``)."""
        self.sizes[layer] = self._sizes(layer)
        layer.unsharded = self._all_gather(self.sizes[layer])

    def root_pre_backward(self, outside: Layer) -> None:
        """Prefetch the first layer to run backward."""
        self._prefetch()

    def pre_backward(self, layer: Layer | Group) -> None:
        """Take what was prefetched, and prefetch the next (``BACKWARD_PRE``)."""
        layer.unsharded = self.all_gather_output
        self.post_forward_order.pop()
        self._prefetch()

    def post_backward(self, layer: Layer) -> None:
        """Concatenate the gradients, reshard the weights and reduce (``_post_backward_hook``)."""
        self._post_backward(layer)

    def _post_backward(self, layer: Layer | Group) -> None:
        gpus, grads = self.sharding.parameters, unsharded(layer)
        if not grads:
            layer.unsharded = None
            return
        elements = sum(self.sharding.shard(p, gpus).size for p, _ in grads)
        first = grads[0][1].unsharded
        assert first is not None
        dtype = first.dtype
        del first
        flat = self.buffer("flat gradient", gpus * elements, dtype)
        for _, leaf in grads:
            leaf.unsharded = None
        layer.unsharded = None
        self._keep_shards(grads, elements, self.sharding.reduce or dtype)
        del flat
