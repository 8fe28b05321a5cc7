//! Work on large bodies, on threads beside those that serve: to check 10 MB of JSON takes milliseconds, and dozens of
//! such bodies may be whole in the same moment.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::refuse::Refusal;

/// Bodies beyond this size are worth the way to another thread and back: what is smaller is done within a millisecond or
/// so.
pub const LARGE: usize = 2 << 20;

/// So many threads at once, on the whole edge: the rest of the processors stays with those that serve.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((processors / 2).max(1)))
});

/// What `work` yields. Once begun it runs to its end, also where nobody waits for it any more. A panic in it is the
/// caller's own.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let place = Arc::clone(&PLACES).acquire_owned().await;
    let working = spawn_blocking(move || {
        let _place = place;
        work()
    });
    match working.await {
        Ok(outcome) => Ok(outcome),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime keeps it from being begun.
            Err(_never_begun) => Err(Refusal::shutting_down()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_thread_goes_on_serving_while_a_body_is_looked_at() {
        let (go_on, may_go_on) = mpsc::channel();
        let looking = tokio::spawn(run(move || may_go_on.recv().is_ok()));
        // This thread is the only one of its runtime: were it held by that work, it would never get here.
        tokio::task::yield_now().await;
        go_on.send(()).unwrap();
        assert!(looking.await.unwrap().is_ok_and(|heard| heard));
    }

    #[tokio::test]
    async fn a_panic_stays_with_its_request() {
        let lost = tokio::spawn(run::<()>(|| panic!("a bug"))).await;
        assert!(lost.is_err_and(|error| error.is_panic()));
        assert!(run(|| 7).await.is_ok_and(|seven| seven == 7), "its place was given back");
    }
}
