//! `--gradient_checkpointing`: forward without a graph, keeping each block's input; then, from the last block to the
//! first, each block again with a graph of its own. At any time the graph of one block is alive.

use burn::{
    module::Module,
    tensor::{Gradients, Tensor},
};
use cogview4_model::{
    CogView4Transformer,
    transformer::{BlockContext, BlockState, TransformerInputs},
};

use super::GradientSink;
use crate::error::Result;

/// Runs the model, hands the output to `loss`, and hands the gradients to the sink block by block. The model is not on the
/// autodiff device: each part goes there when it is its turn.
///
/// # Errors
/// A block that has to be read and cannot, or what the sink refuses.
///
/// # Panics
/// When the inputs do not fit the model, as its `forward`.
pub(super) fn forward_backward<T>(
    mut model: CogView4Transformer,
    inputs: TransformerInputs<'_>,
    sink: &mut GradientSink<'_>,
    loss: impl FnOnce(Tensor<4>) -> (Tensor<1>, T),
) -> Result<(CogView4Transformer, T)> {
    // 1. What is before the blocks keeps its graph; it is small
    let outside = model.outside().train();
    let (embedded, context) = outside.embed(inputs);
    let plain_context = context.clone().inner();

    // 2. Blocks without a graph
    let mut state = embedded.clone().inner();
    let mut block_inputs = Vec::with_capacity(model.num_blocks());
    for index in 0..model.num_blocks() {
        block_inputs.push(state.clone());
        state = model.block(index)?.forward(state, &plain_context);
    }

    // 3. What is behind the blocks, and the loss
    let (state, leaf_context) = (state.leaf(), plain_context.leaf());
    let (loss, result) = loss(outside.head(state.clone(), &leaf_context));
    let gradients = loss.backward();
    let mut of_temb = leaf_context.temb.grad(&gradients);
    let mut of_state = StateGradient::of(&state, &gradients);
    drop((state, leaf_context));
    sink.add(&outside, gradients);

    // 4. Blocks again, the last first
    for (index, input) in block_inputs.into_iter().enumerate().rev() {
        let (state, leaf_context) = (input.leaf(), plain_context.leaf());
        let block = model.block(index)?.clone().train();
        let output = block.forward(state.clone(), &leaf_context);
        let gradients = of_state.dot(output).expect("invariant: a block's output has a gradient").backward();
        of_temb = add(of_temb, leaf_context.temb.grad(&gradients));
        of_state = StateGradient::of(&state, &gradients);
        drop((state, leaf_context));
        sink.add_block(index, &block, gradients);
        drop(block);
        model = sink.block_is_complete(index, model)?;
    }

    // 5. What is before the blocks
    let of_context = of_temb.map(|gradient| (context.temb * Tensor::from_inner(gradient)).sum());
    if let Some(surrogate) = add(of_state.dot(embedded), of_context) {
        sink.add(&outside, surrogate.backward());
    }
    drop(outside);
    Ok((sink.all_is_complete(model)?, result))
}

/// Gradients of a state; what nothing depends on has none.
struct StateGradient {
    hidden_states: Option<Tensor<3>>,
    encoder_hidden_states: Option<Tensor<3>>,
}

impl StateGradient {
    fn of(state: &BlockState, gradients: &Gradients) -> Self {
        Self {
            hidden_states: state.hidden_states.grad(gradients),
            encoder_hidden_states: state.encoder_hidden_states.grad(gradients),
        }
    }

    /// Something whose gradient by the state is this gradient.
    fn dot(&self, state: BlockState) -> Option<Tensor<1>> {
        let product = |tensor: Tensor<3>, gradient: &Option<Tensor<3>>| {
            gradient.clone().map(|gradient| (tensor * Tensor::from_inner(gradient)).sum())
        };
        add(
            product(state.hidden_states, &self.hidden_states),
            product(state.encoder_hidden_states, &self.encoder_hidden_states),
        )
    }
}

/// The sum of what is there.
fn add<const D: usize>(a: Option<Tensor<D>>, b: Option<Tensor<D>>) -> Option<Tensor<D>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// Moves between the devices with and without autodiff.
trait Leaf: Sized {
    /// The same values as leaves of a new graph.
    fn leaf(&self) -> Self;
}

impl Leaf for BlockState {
    fn leaf(&self) -> Self {
        let leaf = |tensor: &Tensor<3>| Tensor::from_inner(tensor.clone()).require_grad();
        Self { hidden_states: leaf(&self.hidden_states), encoder_hidden_states: leaf(&self.encoder_hidden_states) }
    }
}

impl Leaf for BlockContext {
    fn leaf(&self) -> Self {
        let context = self.clone().from_inner();
        Self { temb: context.temb.require_grad(), ..context }
    }
}
