//! One connection on a thread of its own: SQLite blocks, and a runtime's threads must not.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::heap;
use crate::units::StoreError;

/// What SQLite keeps of a file, up to 2 MB a connection, is as soon read again from the system's own cache. It goes where a
/// connection has nothing to do, once this has passed since it began to fill.
const CACHED_FOR: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Takes jobs in order, one at a time. Its thread ends, and the connection closes, when it is dropped.
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub(super) fn start(name: &str, mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let serve = move || serve(&mut connection, &queue);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(serve).map_err(|error| StoreError(format!("no thread for SQLite: {error}")))?;
        Ok(Self { jobs })
    }

    /// Runs `job` on the connection. Dropping the future does not stop a job: it was asked for and is done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.send(move |connection: &mut Connection| drop(sender.send(job(connection))), answer).await
    }

    /// The same for a question: where nobody waits for its answer any more when its turn comes, it is not asked.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            if !sender.is_closed() {
                drop(sender.send(job(connection)));
            }
        };
        self.send(job, answer).await
    }

    async fn send<T>(
        &self,
        job: impl FnOnce(&mut Connection) + Send + 'static,
        answer: oneshot::Receiver<rusqlite::Result<T>>,
    ) -> Result<T, StoreError> {
        let closed = || StoreError("the database is closed".to_owned());
        self.jobs.send(Box::new(job)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map_err(|error| StoreError(error.to_string()))
    }
}

/// Until nobody can bring another job.
fn serve(connection: &mut Connection, queue: &Receiver<Job>) {
    let mut filling_since = None::<Instant>;
    loop {
        let job = match filling_since {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => queue.recv_timeout(CACHED_FOR.saturating_sub(since.elapsed())),
        };
        match job {
            Ok(job) => {
                job(connection);
                filling_since.get_or_insert_with(Instant::now);
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = connection.execute_batch("pragma shrink_memory"); // what is cached does no harm
                heap::empty_cache();
                filling_since = None;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
