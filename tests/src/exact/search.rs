//! Whether tasks fit into a number of cycles: every start time is tried that their order leaves.

use super::work::{Task, UNITS, Unit, Work};

/// See [`fits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Fits,
    TooShort,
    /// After [`STEPS`] starts tried.
    GaveUp,
}

/// Starts that are tried at most.
const STEPS: u64 = 3_000_000;

struct Search<'a> {
    work: &'a Work,
    end: i64,
    /// Amounts taken, by unit and cycle.
    taken: Vec<Vec<u32>>,
    /// Tasks that wait for each, with the cycles between.
    next: Vec<Vec<(usize, i64)>>,
    steps: u64,
}

/// Earliest and latest start of every task.
type Windows = Vec<(i64, i64)>;

/// Whether all events can be over by cycle `end`.
pub(super) fn fits(work: &Work, end: i64) -> Answer {
    let mut next = vec![Vec::new(); work.tasks.len()];
    for (n, t) in work.tasks.iter().enumerate() {
        t.after.iter().for_each(|&(p, lag)| next[p].push((n, lag)));
    }
    let mut windows: Windows = work.tasks.iter().map(|t| (t.earliest, end - t.tail)).collect();
    let mut s = Search { work, end, taken: vec![vec![0; end as usize + 1]; UNITS.len()], next, steps: 0 };
    let all: Vec<usize> = (0..work.tasks.len()).collect();
    if !s.tighten(&mut windows, &all) {
        return Answer::TooShort;
    }
    let mut open = all;
    match s.place(&windows, &mut open) {
        _ if s.steps >= STEPS => Answer::GaveUp,
        true => Answer::Fits,
        false => Answer::TooShort,
    }
}

fn number(unit: Unit) -> usize {
    UNITS.iter().position(|&u| u == unit).unwrap_or(0)
}

impl Search<'_> {
    /// Moves windows until all orders are kept; false where one is empty.
    fn tighten(&self, windows: &mut Windows, changed: &[usize]) -> bool {
        let mut queue: Vec<usize> = changed.to_vec();
        while let Some(n) = queue.pop() {
            if windows[n].0 > windows[n].1 {
                return false;
            }
            for &(after, lag) in &self.next[n] {
                if windows[after].0 < windows[n].0 + lag {
                    windows[after].0 = windows[n].0 + lag;
                    queue.push(after);
                }
            }
            for &(before, lag) in &self.work.tasks[n].after {
                if windows[before].1 > windows[n].1 - lag {
                    windows[before].1 = windows[n].1 - lag;
                    queue.push(before);
                }
            }
        }
        true
    }

    fn cycles(&self, t: &Task, start: i64, mut f: impl FnMut(usize, usize, u32)) {
        for k in &t.takes {
            for c in start + k.from..start + k.from + k.len {
                f(number(k.unit), c.clamp(0, self.end) as usize, k.amount);
            }
        }
    }

    fn free(&self, t: &Task, start: i64) -> bool {
        let mut ok = true;
        self.cycles(t, start, |u, c, amount| ok &= self.taken[u][c] + amount <= self.work.capacity[u].max(amount));
        ok
    }

    fn take(&mut self, n: usize, start: i64, sign: bool) {
        let work = self.work;
        let mut changes = Vec::new();
        self.cycles(&work.tasks[n], start, |u, c, amount| changes.push((u, c, amount)));
        for (u, c, amount) in changes {
            let cell = &mut self.taken[u][c];
            *cell = if sign { *cell + amount } else { *cell - amount };
        }
    }

    /// Places the open tasks, the one with the fewest starts left first.
    fn place(&mut self, windows: &Windows, open: &mut Vec<usize>) -> bool {
        // What takes nothing starts as early as it may.
        let choice =
            |n: &usize| (self.work.tasks[*n].takes.is_empty(), windows[*n].1 - windows[*n].0, windows[*n].0, *n);
        let Some(at) = (0..open.len()).min_by_key(|&i| choice(&open[i])) else { return true };
        let n = open[at];
        if self.work.tasks[n].takes.is_empty() {
            return true;
        }
        open.swap_remove(at);
        for start in windows[n].0..=windows[n].1 {
            self.steps += 1;
            if self.steps >= STEPS {
                break;
            }
            if !self.free(&self.work.tasks[n], start) {
                continue;
            }
            let mut next = windows.clone();
            next[n] = (start, start);
            if self.tighten(&mut next, &[n]) {
                self.take(n, start, true);
                if self.place(&next, open) {
                    return true;
                }
                self.take(n, start, false);
            }
        }
        open.push(n);
        let last = open.len() - 1;
        open.swap(at, last);
        false
    }
}
