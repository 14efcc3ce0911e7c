//! The signals of the system that the program reacts to.

use std::{fs, future::pending, io};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the program to stop. Once they are awaited none of them ends the process by itself, however many come.
pub(super) struct StopSignals {
    terminated: Signal,
    interrupted: Signal,
    hung_up: Option<Signal>,
}

impl StopSignals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminated: signal(SignalKind::terminate())?,
            interrupted: signal(SignalKind::interrupt())?,
            hung_up: if is_hangup_left_alone() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        let hung_up = async {
            match &mut self.hung_up {
                Some(hung_up) => hung_up.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.interrupted.recv() => {}
            _ = hung_up => {}
        }
    }
}

/// Whether the process is to go on when its terminal is gone, as `nohup` wants it; also where the system does not tell.
fn is_hangup_left_alone() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask >> (Number::HUP.as_raw() - 1) & 1 == 1)
}

/// From now on a write that would make a file larger than the process may make it fails, and does not end the process.
pub(super) fn outlive_size_limit() {
    let _ = signal(SignalKind::from_raw(Number::XFSZ.as_raw()));
}
