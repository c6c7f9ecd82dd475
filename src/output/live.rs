//! The one live line of a terminal: what happens at the moment, drawn anew as time passes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::terminal::terminal_width;
use crate::words::escape_controls;

/// Says what happens at the moment, in so many columns.
type Text = Box<dyn Fn(usize) -> String + Send>;

/// What stands before the text: the sign of life and the time.
const BEFORE: usize = "* 00:00:00 ".len();

/// A live line, while there is one.
pub(super) struct Live {
    bar: ProgressBar,
    text: Arc<Mutex<Text>>,
}

impl Live {
    pub(super) fn new() -> Self {
        let text: Arc<Mutex<Text>> = Arc::new(Mutex::new(Box::new(|_| String::new())));
        let drawn = Arc::clone(&text);
        let draw = move |_: &ProgressState, line: &mut dyn fmt::Write| {
            let room = terminal_width(&io::stderr()).unwrap_or(80).saturating_sub(BEFORE + 1);
            let text = drawn.lock()(room);
            let _ = line.write_str(&cut(&escape_controls(&text), room));
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {text}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style.with_key("text", draw));
        Live { bar, text }
    }

    pub(super) fn show(&self, text: impl Fn(usize) -> String + Send + 'static, began: Instant) {
        *self.text.lock() = Box::new(text);
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_elapsed(began.elapsed());
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    pub(super) fn settle(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }

    /// Writes something that stays, above the line.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

/// A line that does not wrap: it is drawn over again and again.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let (mut cut, mut width) = (String::new(), 1);
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        if width > room {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_line_fits_its_terminal() {
        assert_eq!(cut("restore", 7), "restore");
        assert_eq!(cut("restore", 6), "resto…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("restore", 1), "…");
    }
}
