//! What drills tell while they run: one live line on a terminal, one line per change of state otherwise; and what is left, by earlier
//! drills of the same database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::drill::Event;
use crate::drill::estimate::{Earlier, Left, time_left_of_all};
use crate::drill::evidence::TEAR_DOWN;
use crate::output::Output;
use crate::when::{format_rough_span, format_span};

/// A drill under way.
#[derive(Debug)]
struct Going {
    phase: String,
    since: Instant,
    /// What happens in its phase.
    what: String,
    earlier: Earlier,
}

impl Going {
    fn new() -> Self {
        Going {
            phase: String::new(),
            since: Instant::now(),
            what: String::new(),
            earlier: Earlier::default(),
        }
    }

    fn begin_phase(&mut self, phase: &str) {
        (self.phase, self.since, self.what) = (phase.to_owned(), Instant::now(), String::new());
    }

    fn time_left(&self) -> Option<Left> {
        self.earlier.time_left(&self.phase, self.since.elapsed())
    }
}

/// What a single drill tells.
pub(super) struct LiveDrill<'a> {
    output: &'a Output,
    began: Instant,
    objective: Duration,
    going: Arc<Mutex<Going>>,
}

impl<'a> LiveDrill<'a> {
    pub(super) fn new(output: &'a Output, objective: Duration) -> Self {
        LiveDrill { output, began: Instant::now(), objective, going: Arc::new(Mutex::new(Going::new())) }
    }

    pub(super) fn show_event(&self, event: &Event<'_>) {
        let elapsed = format!("[{:>7}]", format_span(self.began.elapsed().as_secs_f64()));
        match event {
            Event::Begun { earlier, .. } => self.going.lock().earlier = (*earlier).clone(),
            Event::Phase(name) => {
                let left = {
                    let mut going = self.going.lock();
                    going.begin_phase(name);
                    going.time_left()
                };
                // A live line says it all the time, and better.
                let left =
                    left.filter(|_| !self.output.is_live()).map(|left| format!(", {}", left.format_left()));
                self.output.say(format!("{elapsed} {name}{}", left.unwrap_or_default()));
                self.show_live();
            }
            Event::Status { id, status, .. } => {
                self.output.say(format!("{elapsed}   `{id}` is {status}"));
                (*status).clone_into(&mut self.going.lock().what);
                self.show_live();
            }
            Event::Counting { side, progress } => {
                let mut going = self.going.lock();
                // Two guesses would not agree.
                let told = match going.time_left() {
                    Some(_) => progress.describe(),
                    None => progress.describe_with_estimate(going.since.elapsed()),
                };
                going.what = format!("{side}: {told}");
                drop(going);
                self.show_live();
            }
            Event::Note(text) => self.output.say(format!("{elapsed}   {text}")),
            Event::Warning(text) => self.output.warn(text),
        }
    }

    fn show_live(&self) {
        let (going, objective) = (Arc::clone(&self.going), self.objective);
        let text = move |_: usize| {
            let going = going.lock();
            let what = if going.what.is_empty() { String::new() } else { format!(" ({})", going.what) };
            let left = going.time_left().map_or(String::new(), |left| format!(", {}", left.format_left()));
            // The copy is validated before it is removed.
            let budget = match objective.is_zero() || going.phase == TEAR_DOWN {
                true => String::new(),
                false => format!(" · RTO {}", format_span(objective.as_secs_f64())),
            };
            format!("{}{what}{left}{budget}", going.phase)
        };
        self.output.show_live_as(text, self.began);
    }
}

/// What the drills of a fleet tell.
#[derive(Clone)]
pub(super) struct LiveFleet {
    began: Instant,
    of: usize,
    at_once: usize,
    drills: Arc<Mutex<Drills>>,
}

#[derive(Debug, Default)]
struct Drills {
    done: usize,
    under_way: BTreeMap<String, Going>,
    /// What the last drill took of those whose turn has not come.
    waiting: BTreeMap<String, Option<Duration>>,
}

impl LiveFleet {
    /// `waiting` are the databases that will be drilled, with what the last drill of each took.
    pub(super) fn new(waiting: BTreeMap<String, Option<Duration>>, of: usize, at_once: usize) -> Self {
        let drills = Drills { waiting, ..Drills::default() };
        LiveFleet { began: Instant::now(), of, at_once, drills: Arc::new(Mutex::new(drills)) }
    }

    /// Notes what happens to one of them.
    pub(super) fn note_event(&self, id: &str, event: &Event<'_>) {
        let mut drills = self.drills.lock();
        match event {
            Event::Begun { earlier, .. } => {
                drills.waiting.remove(id);
                drills.under_way.entry(id.to_owned()).or_insert_with(Going::new).earlier = (*earlier).clone();
            }
            Event::Phase(name) => {
                drills.waiting.remove(id);
                drills.under_way.entry(id.to_owned()).or_insert_with(Going::new).begin_phase(name);
            }
            Event::Status { .. } | Event::Counting { .. } | Event::Note(_) | Event::Warning(_) => {}
        }
    }

    /// Notes that one is over; says how many are.
    pub(super) fn end_drill(&self, id: &str) -> usize {
        let mut drills = self.drills.lock();
        drills.under_way.remove(id);
        drills.waiting.remove(id);
        drills.done += 1;
        drills.done
    }

    pub(super) fn show(&self, output: &Output) {
        let (live, began) = (self.clone(), self.began);
        output.show_live_as(move |room| live.live_text(room), began);
    }

    fn live_text(&self, room: usize) -> String {
        let drills = self.drills.lock();
        let under_way = drills.under_way.values().map(|going| match going.time_left() {
            Some(Left::About { left, .. }) => Some(left),
            Some(Left::Longer { .. }) | None => None,
        });
        let left = time_left_of_all(under_way, drills.waiting.values().copied(), self.at_once)
            .filter(|left| !left.is_zero())
            .map_or(String::new(), |left| format!(" · about {} left", format_rough_span(left)));
        let head = format!("{} of {}", drills.done, self.of);
        let phases: Vec<(&str, &str)> =
            drills.under_way.iter().map(|(id, going)| (id.as_str(), going.phase.as_str())).collect();
        format!("{head}{}{left}", by_phase(&phases, room.saturating_sub(head.len() + left.chars().count())))
    }
}

/// ` · restore: billing, orders · compare: users`: all that are under way, by their phases, as far as there is room for them. None is
/// cut in the middle; those that do not fit are counted.
fn by_phase(drills: &[(&str, &str)], room: usize) -> String {
    let mut phases: Vec<(&str, Vec<&str>)> = Vec::new();
    for (id, phase) in drills {
        match phases.iter_mut().find(|(known, _)| known == phase) {
            Some((_, ids)) => ids.push(id),
            None => phases.push((phase, vec![id])),
        }
    }
    let mut parts: Vec<String> = Vec::new();
    for (phase, ids) in &phases {
        let named = if phase.is_empty() { String::new() } else { format!("{phase}: ") };
        for (at, id) in ids.iter().enumerate() {
            parts.push(if at == 0 { format!(" · {named}{id}") } else { format!(", {id}") });
        }
    }
    let text = parts.concat();
    if text.chars().count() <= room {
        return text;
    }
    let mut shown = String::new();
    for (at, part) in parts.iter().enumerate() {
        let more = format!(" and {} more", parts.len() - at);
        if (shown.chars().count() + part.chars().count() + more.len()) > room {
            return format!("{shown}{more}");
        }
        shown.push_str(part);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_drills_under_way_are_named() {
        let drills = [("audit", "compare"), ("billing", "restore"), ("orders-prod", "restore")];
        assert_eq!(by_phase(&drills, 60), " · compare: audit · restore: billing, orders-prod");
        assert_eq!(by_phase(&drills, 40), " · compare: audit and 2 more");
        assert_eq!(by_phase(&[], 40), "");
    }

    proptest! {
        #[test]
        fn no_name_is_cut_and_none_is_left_out_silently(
            ids in prop::collection::btree_set("[a-z]{1,20}", 0..12),
            phases in prop::collection::vec(0..3_usize, 12),
            room in 20..120_usize,
        ) {
            let names = ["restore", "log in", "compare"];
            let drills: Vec<(&str, &str)> =
                ids.iter().map(String::as_str).zip(phases.iter().map(|at| names[*at])).collect();
            let text = by_phase(&drills, room);
            let (named, more) = match text.rsplit_once(" and ") {
                Some((named, more)) => (named, more.trim_end_matches(" more").parse::<usize>().unwrap()),
                None => (text.as_str(), 0),
            };
            let words: Vec<&str> = named.split([' ', ',', ':']).collect();
            let count = drills.iter().filter(|(id, _)| words.contains(id)).count();
            // An id may be the word for a phase, too.
            prop_assert!(count + more >= drills.len());
            prop_assert!(text.chars().count() <= room.max(" and 12 more".len()), "{text}");
        }
    }
}
