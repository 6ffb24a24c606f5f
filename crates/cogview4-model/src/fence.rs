//! A fence around readers of others that panic on broken input: the panic becomes an error, and nothing is printed.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    static IS_FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Calls a reader of another library on bytes from outside, and gives the message of its panic where it panics. The
/// reader and what it has changed must not be used after that.
///
/// ```
/// use cogview4_model::fence::fenced;
///
/// assert_eq!(fenced(|| 1), Ok(1));
/// assert_eq!(fenced(|| -> u8 { panic!("no such table") }), Err("no such table".to_string()));
/// ```
///
/// # Errors
/// The message of the panic.
pub fn fenced<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_fenced() {
                before(info);
            }
        }));
    });
    let outer = IS_FENCED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(read));
    IS_FENCED.set(outer);
    done.map_err(|panic| message(&*panic))
}

/// Whether this thread is in a fence: a panic is no defect of the program's own then. For hooks that end a program.
pub fn is_fenced() -> bool {
    IS_FENCED.get()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_fences_nest() {
        let inner = fenced(|| {
            assert!(is_fenced());
            let inner = fenced(|| panic!("inside {}", 1));
            assert!(is_fenced());
            inner
        });
        assert_eq!(inner, Ok(Err::<(), _>("inside 1".to_string())));
        assert!(!is_fenced());
        assert_eq!(fenced(|| panic::panic_any(1)), Err::<(), _>("it panicked".to_string()));
    }
}
