//! SIGINT and SIGTERM: the first one asks for the end, a second one is the end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::Ended;

/// What the shell reports of a process that a signal ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn first(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
        }
    }

    /// From now on a signal ends the process at once. What is durable stays so.
    pub(crate) fn abort_on_second(mut self) {
        tokio::spawn(async move {
            let ended = self.first().await;
            std::process::exit(if ended == Ended::Interrupted { INTERRUPTED } else { TERMINATED });
        });
    }
}
