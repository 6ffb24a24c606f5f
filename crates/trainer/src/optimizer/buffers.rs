//! Memory for a chunk of values, which each thread keeps for the next: to ask the system for it each time takes longer
//! than to fill it.

use std::cell::RefCell;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Works with a buffer that is empty at first.
pub(super) fn with_buffer<R>(work: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.clear();
    let result = work(&mut buffer);
    BUFFERS.with_borrow_mut(|buffers| buffers.push(buffer));
    result
}
