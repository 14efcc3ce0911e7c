//! How far long work is.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far long work is: a bar on a terminal, elsewhere a line every few seconds.
pub(super) struct Progress {
    bar: ProgressBar,
    written_at: Instant,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_secs(3);

    pub(super) fn of(length: u64, template: &str) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_wrong| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), target).with_style(style);
        Self { bar, written_at: Instant::now() }
    }

    pub(super) fn reach<N: TryInto<u64>>(&mut self, position: N, length: N) {
        self.bar.set_length(length.try_into().unwrap_or_default());
        self.bar.set_position(position.try_into().unwrap_or_default());
        self.advance(0);
    }

    pub(super) fn advance(&mut self, by: u64) {
        self.bar.inc(by);
        let length = self.bar.length().unwrap_or_default();
        if length > 0 && self.bar.is_hidden() && self.written_at.elapsed() > Self::INTERVAL {
            let percent = self.bar.position() * 100 / length;
            // Nobody need read it.
            let _ = writeln!(stderr(), "{percent} % done");
            self.written_at = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
