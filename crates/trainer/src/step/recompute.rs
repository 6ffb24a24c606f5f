//! `--gradient_checkpointing`: forward without a graph, keeping each block's input; then, from the last block to the
//! first, each block again with a graph of its own. At any time the graph of one block is alive.

use burn::{
    module::Module,
    tensor::{Gradients, Tensor},
};
use cogview4_model::{
    CogView4Transformer, each,
    transformer::{BlockContext, BlockState, TransformerBlock},
};

use super::{GradientSink, parts::Part};
use crate::{error::Result, samples::MicroBatch};

/// Runs the model on each part of a micro-batch, hands the output to `loss`, and hands the gradients to the sink block by
/// block. The model is not on the autodiff device: each block goes there when it is its turn.
///
/// # Errors
/// A block that has to be read and cannot, or what the sink refuses.
///
/// # Panics
/// When the inputs do not fit the model, as its `forward`.
pub(super) fn forward_backward<T: Send>(
    mut model: CogView4Transformer,
    parts: Vec<Part<'_>>,
    sink: &mut GradientSink<'_>,
    loss: impl Fn(&MicroBatch, Tensor<4>) -> (Tensor<1>, T) + Sync + Send,
) -> Result<(CogView4Transformer, Vec<T>)> {
    // 1. What is before the blocks keeps its graph; it is small
    let (outside, device) = (model.outside(), parts[0].1.hidden_states.device());
    let mut parts = each(&device, parts, |part| Pass::new(outside.clone().train(), part));

    // 2. Blocks without a graph
    for index in 0..model.num_blocks() {
        let block = model.block(index)?;
        parts = each(&device, parts, |part| part.forward(&block));
    }

    // 3. What is behind the blocks, and the loss
    let passed = each(&device, parts, |part| part.end(&loss));
    let (mut parts, (gradients, results)): (Vec<_>, (Vec<_>, Vec<_>)) = passed.into_iter().unzip();
    sink.add(gradients);

    // 4. Blocks again, the last first
    for index in (0..model.num_blocks()).rev() {
        let block = model.block(index)?.clone();
        let passed = each(&device, parts, |part| part.backward(block.clone().train()));
        drop(block);
        let gradients;
        (parts, gradients) = passed.into_iter().unzip();
        sink.add_block(index, gradients);
        model = sink.block_is_complete(index, model)?;
    }

    // 5. What is before the blocks
    sink.add(each(&device, parts, Pass::begin).into_iter().flatten().collect());
    drop(outside);
    Ok((sink.all_is_complete(model)?, results))
}

/// What is in no block, and its gradients.
type Outside = (CogView4Transformer, Gradients);

/// A part of a micro-batch on its way.
struct Pass<'a> {
    batch: &'a MicroBatch,
    /// What is in no block, with the graph of what is before them.
    outside: CogView4Transformer,
    embedded: Tensor<3>,
    context: BlockContext,
    /// The same context without a graph.
    plain_context: BlockContext,
    /// Inputs of the blocks, then what the last gives; those are gone whose backward is over.
    states: Vec<BlockState>,
    of_state: Option<Tensor<3>>,
    of_temb: Option<Tensor<2>>,
}

impl<'a> Pass<'a> {
    fn new(outside: CogView4Transformer, (batch, inputs): Part<'a>) -> Self {
        let (state, context) = outside.embed(inputs);
        let (embedded, plain_context) = (state.joint.clone(), context.clone().inner());
        let states = vec![state.inner()];
        Self { batch, outside, embedded, context, plain_context, states, of_state: None, of_temb: None }
    }

    /// The last state, which is taken out, and the context, as leaves of a new graph.
    fn leaves(&mut self) -> (BlockState, BlockContext) {
        (self.states.pop().expect("invariant: one for each block, and one").leaf(), self.plain_context.leaf())
    }

    /// Notes the gradients of leaves.
    fn note(&mut self, (state, context): (BlockState, BlockContext), gradients: &Gradients) {
        self.of_state = state.joint.grad(gradients);
        self.of_temb = add(self.of_temb.take(), context.temb.grad(gradients));
    }

    /// Through a block.
    fn forward(mut self, block: &TransformerBlock) -> Self {
        let state = self.states.last().expect("invariant: what was embedded").clone();
        self.states.push(block.forward(state, &self.plain_context));
        self
    }

    /// Through what is behind the blocks, and back.
    fn end<T>(mut self, loss: impl Fn(&MicroBatch, Tensor<4>) -> (Tensor<1>, T)) -> (Self, (Outside, T)) {
        let (state, context) = self.leaves();
        let (loss, result) = loss(self.batch, self.outside.head(state.clone(), &context));
        let gradients = loss.backward();
        self.note((state, context), &gradients);
        let outside = self.outside.clone();
        (self, ((outside, gradients), result))
    }

    /// Through a block again, and back.
    fn backward(mut self, block: TransformerBlock) -> (Self, (TransformerBlock, Gradients)) {
        let (state, context) = self.leaves();
        let output = block.forward(state.clone(), &context).joint;
        let of_state = self.of_state.take();
        let gradients = dot(output, of_state).expect("invariant: a block's output has a gradient").backward();
        self.note((state, context), &gradients);
        (self, (block, gradients))
    }

    /// Back through what is before the blocks.
    fn begin(self) -> Option<Outside> {
        let surrogate = add(dot(self.embedded, self.of_state), dot(self.context.temb, self.of_temb))?;
        Some((self.outside, surrogate.backward()))
    }
}

/// Something whose gradient by the tensor is this one, if there is one.
fn dot<const D: usize>(tensor: Tensor<D>, gradient: Option<Tensor<D>>) -> Option<Tensor<1>> {
    gradient.map(|gradient| (tensor * Tensor::from_inner(gradient)).sum())
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
        Self { joint: Tensor::from_inner(self.joint.clone()).require_grad() }
    }
}

impl Leaf for BlockContext {
    fn leaf(&self) -> Self {
        let context = self.clone().from_inner();
        Self { temb: context.temb.require_grad(), ..context }
    }
}
