//! [`beside`]: further connections, while those that are there tell of ranks that are gone.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use zae_tch_sys::{Error, Gloo};

use super::packet::Failed;

/// How often ranks that are still connecting ask after each other.
const ASK: Duration = Duration::from_millis(20);

/// Connects on a thread of its own, a call of all ranks. Meanwhile they tell each other over `gloo` whether they are done, until all
/// are: one that is gone is missed at once there, and would be waited for where it has no connection yet.
pub(super) fn beside<R: Send + 'static>(
    gloo: &mut Gloo,
    connect: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Failed> {
    let (give, take) = channel();
    let thread = thread::Builder::new().name("c10d-connect".to_owned());
    // After a failure it ends by itself: what waits for a rank cannot be called back.
    drop(thread.spawn(move || drop(give.send(connect()))));
    let mut made = None;
    loop {
        if made.is_none() {
            made = match take.recv_timeout(ASK) {
                Ok(connected) => Some(connected?),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failed::Plain("a rank could not start a thread that connects it".to_owned()));
                }
            };
        }
        let all = gloo.all_gather(&[u8::from(made.is_some())])?;
        if let Some(made) = made.take_if(|_| all.iter().all(|done| *done == 1)) {
            return Ok(made);
        }
    }
}
