//! Operations on libtorch's own graph, where tch has no call for a backward.

use burn::backend::libtorch::TchTensor;

/// An operation of `N` inputs, recorded.
#[derive(Debug, Clone)]
pub(in crate::ops::fused) struct Graph<const N: usize> {
    leaves: [TchTensor; N],
    output: TchTensor,
}

impl<const N: usize> Graph<N> {
    /// The output, off the graph, and the graph.
    pub(super) fn record(
        inputs: [TchTensor; N],
        forward: impl FnOnce([&tch::Tensor; N]) -> tch::Tensor,
    ) -> (TchTensor, Self) {
        // The storage is shared, so that Burn, which counts who holds it, changes nothing in place.
        let leaf = |input: TchTensor| TchTensor {
            tensor: input.tensor.detach().set_requires_grad(true),
            storage: input.storage,
        };
        let leaves = inputs.map(leaf);
        let output = TchTensor::new(forward(leaves.each_ref().map(|leaf| &leaf.tensor)));
        let detached = TchTensor { tensor: output.tensor.detach(), storage: output.storage.clone() };
        (detached, Self { leaves, output })
    }

    /// Gradients of the inputs.
    pub(super) fn gradients(self, grad: &tch::Tensor) -> [TchTensor; N] {
        // tch lets nobody hand a gradient to a graph: that of a product with it is the gradient itself. The product's value
        // is of no use, and a dot product writes none; on CUDA it counts in 32 bits.
        let output = &self.output.tensor;
        let product = match i32::try_from(output.numel()) {
            Ok(_) => output.reshape([-1]).dot(&grad.reshape([-1])),
            Err(_) => (output * grad).sum(output.kind()),
        };
        let leaves = self.leaves.map(|leaf| leaf.tensor);
        let gradients = tch::Tensor::run_backward(&[product], &leaves, false, false);
        let gradients: [tch::Tensor; N] = gradients.try_into().expect("invariant: one for each leaf");
        gradients.map(TchTensor::new)
    }
}
