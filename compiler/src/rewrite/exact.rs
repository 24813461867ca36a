//! The cheapest choice of terms, proven: branch and bound over the classes that are needed.
//!
//! Classes that every choice needs are found first; what is left falls into parts that share no
//! class, and each part is searched by itself. The bound of an open choice is its cheapest term plus a share of
//! every class below it: a class is split evenly among all that might use it, so that no cost counts twice.
//! Budgets count steps, never seconds.

use super::extract::{Choice, Problem, Solution, Walk};

/// Classes of a region that is searched; beyond, greedy choice and local search must do.
pub(crate) const CLASSES: usize = 1600;

/// Open choices that are looked at in one part of a region.
const NODES: usize = 20_000;

/// Steps that a region of up to [`SMALL`] classes may take, counted in looks at a term; larger ones take fewer.
const STEPS: u64 = 4_000_000;

/// Classes of a small region.
const SMALL: u64 = 600;

/// Improves a solution until it is proven the best, or the budget is used up. Gives the solution, its
/// cost and a bound below which there is none.
pub(crate) fn improve(p: &Problem, cost: u64, solution: Solution, walk: &mut Walk) -> (u64, Solution, u64) {
    let n = p.classes.len();
    let terms: Vec<Vec<u32>> = p.classes.iter().map(|c| undominated(c)).collect();
    let best = without_dominated(p, &terms, solution);
    let best_cost = walk.cost(p, &best).map_or(cost, |c| c.min(cost));
    let mut s = Search {
        p,
        needed: Vec::new(),
        is_needed: vec![false; n],
        decided: vec![None; n],
        share: vec![0; n],
        part_of: vec![u32::MAX; n],
        terms,
        best,
        best_cost,
        walk,
        steps: STEPS * SMALL / SMALL.max(n as u64),
    };
    let always = always_needed(p, &s.terms);
    s.need(always);
    let parts = s.parts();
    // What is no part of any has one form only.
    let mut proven = 0u64;
    for &c in &s.needed {
        if let Some(i) = s.decided[c as usize] {
            proven += p.classes[c as usize][i as usize].cost;
        }
    }
    for (i, part) in parts.iter().enumerate() {
        part.open.iter().chain(&part.below).for_each(|&c| s.part_of[c as usize] = i as u32);
        proven = proven.saturating_add(s.solve(part, i as u32));
    }
    (s.best_cost, s.best, proven.min(s.best_cost))
}

/// True when an alternative costs no more than another and needs nothing that the other does not.
fn beats(a: &Choice, b: &Choice) -> bool {
    a.cost <= b.cost && a.children.iter().all(|k| b.children.binary_search(k).is_ok())
}

/// Alternatives of a class without those that another beats.
fn undominated(class: &[Choice]) -> Vec<u32> {
    let beaten = |j: usize| {
        class.iter().enumerate().any(|(i, a)| i != j && beats(a, &class[j]) && (i < j || !beats(&class[j], a)))
    };
    (0..class.len()).filter(|&j| !beaten(j)).map(|j| j as u32).collect()
}

/// The solution with alternatives that others beat replaced by those. It needs no class more, so no cycle comes.
fn without_dominated(p: &Problem, terms: &[Vec<u32>], mut s: Solution) -> Solution {
    for (c, i) in s.iter_mut().enumerate() {
        let old = &p.classes[c][*i as usize];
        if !terms[c].contains(i)
            && let Some(&better) = terms[c].iter().find(|&&k| beats(&p.classes[c][k as usize], old))
        {
            *i = better;
        }
    }
    s
}

/// Classes that every choice needs: of each class what all its alternatives need, worked down from everything.
fn always_needed(p: &Problem, terms: &[Vec<u32>]) -> Vec<u32> {
    let n = p.classes.len();
    let words = n.div_ceil(64);
    let mut must = vec![u64::MAX; n * words];
    let (mut set, mut one) = (vec![0u64; words], vec![0u64; words]);
    let mut changed = true;
    while changed {
        changed = false;
        for c in (0..n).rev() {
            set.fill(u64::MAX);
            for &i in &terms[c] {
                one.fill(0);
                for &k in &p.classes[c][i as usize].children {
                    let k = k as usize * words;
                    one.iter_mut().zip(&must[k..k + words]).for_each(|(a, b)| *a |= b);
                }
                set.iter_mut().zip(&one).for_each(|(a, b)| *a &= b);
            }
            set[c / 64] |= 1 << (c % 64);
            let have = &mut must[c * words..(c + 1) * words];
            if *have != *set {
                have.copy_from_slice(&set);
                changed = true;
            }
        }
    }
    let mut all = vec![0u64; words];
    for &r in &p.roots {
        let r = r as usize * words;
        all.iter_mut().zip(&must[r..r + words]).for_each(|(a, b)| *a |= b);
    }
    (0..n as u32).filter(|&c| all[c as usize / 64] >> (c % 64) & 1 == 1).collect()
}

struct Search<'a> {
    p: &'a Problem,
    terms: Vec<Vec<u32>>,
    /// Classes that are needed under the choices made so far, in the order in which they came.
    needed: Vec<u32>,
    is_needed: Vec<bool>,
    /// Alternative of a needed class; `None` for those that are open, and for all others.
    decided: Vec<Option<u32>>,
    /// Share of a class that each of its users bears; 0 for needed ones, which are paid for.
    share: Vec<u64>,
    /// The part that a class belongs to.
    part_of: Vec<u32>,
    best: Solution,
    best_cost: u64,
    walk: &'a mut Walk,
    steps: u64,
}

/// Needed classes that are open, and those below them that only they may need.
struct Part {
    open: Vec<u32>,
    below: Vec<u32>,
}

impl Search<'_> {
    /// Takes classes as needed, with what follows: a class of one form needs its operands.
    fn need(&mut self, classes: Vec<u32>) {
        let mut stack = classes;
        stack.reverse();
        while let Some(c) = stack.pop() {
            if std::mem::replace(&mut self.is_needed[c as usize], true) {
                continue;
            }
            self.needed.push(c);
            if let [only] = self.terms[c as usize][..] {
                self.decided[c as usize] = Some(only);
                stack.extend(self.p.classes[c as usize][only as usize].children.iter().rev());
            }
        }
    }

    /// Goes back to fewer needed classes.
    fn forget(&mut self, len: usize) {
        for c in self.needed.drain(len..) {
            self.is_needed[c as usize] = false;
            self.decided[c as usize] = None;
        }
    }

    /// Parts that share no class.
    fn parts(&self) -> Vec<Part> {
        let n = self.p.classes.len();
        let mut owner: Vec<u32> = vec![u32::MAX; n];
        let mut up: Vec<u32> = Vec::new();
        fn find(up: &[u32], mut i: u32) -> u32 {
            while up[i as usize] != i {
                i = up[i as usize];
            }
            i
        }
        let open: Vec<u32> = self.needed.iter().copied().filter(|&c| self.decided[c as usize].is_none()).collect();
        for &c in &open {
            let me = up.len() as u32;
            up.push(me);
            let mut stack = vec![c];
            while let Some(k) = stack.pop() {
                for &i in &self.terms[k as usize] {
                    for &j in &self.p.classes[k as usize][i as usize].children {
                        if self.is_needed[j as usize] {
                            continue;
                        }
                        match owner[j as usize] {
                            u32::MAX => {
                                owner[j as usize] = me;
                                stack.push(j);
                            }
                            other => {
                                let (a, b) = (find(&up, me), find(&up, other));
                                up[a.max(b) as usize] = a.min(b);
                            }
                        }
                    }
                }
            }
        }
        let mut parts: Vec<Option<Part>> = (0..open.len()).map(|_| None).collect();
        let empty = || Part { open: Vec::new(), below: Vec::new() };
        for (i, &c) in open.iter().enumerate() {
            parts[find(&up, i as u32) as usize].get_or_insert_with(empty).open.push(c);
        }
        for (k, &o) in owner.iter().enumerate().filter(|(_, o)| **o != u32::MAX) {
            parts[find(&up, o) as usize].get_or_insert_with(empty).below.push(k as u32);
        }
        parts.into_iter().flatten().collect()
    }

    /// Searches a part; gives a bound of its cost.
    fn solve(&mut self, part: &Part, number: u32) -> u64 {
        let mut nodes = NODES;
        // What the whole costs more than the part.
        let rest = self.best_cost.saturating_sub(self.cost_within(number));
        self.probe(part, rest);
        let bound = self.branch(part, &part.open, rest, &mut nodes);
        bound.min(self.best_cost.saturating_sub(rest))
    }

    /// Takes away alternatives of open classes that alone show that nothing cheaper comes of them.
    fn probe(&mut self, part: &Part, rest: u64) {
        for _ in 0..2 {
            for &c in &part.open {
                let others: Vec<u32> = part.open.iter().copied().filter(|&o| o != c).collect();
                let mut left = self.terms[c as usize].clone();
                left.retain(|&i| {
                    let bound = self.with(c, i, &others, |s, open| s.bound(part, open));
                    i == self.best[c as usize] || bound.is_some_and(|b| rest.saturating_add(b) < self.best_cost)
                });
                self.terms[c as usize] = left;
            }
        }
    }

    /// What follows with one alternative of an open class; `None` when it leads into a cycle.
    fn with<T>(&mut self, c: u32, i: u32, others: &[u32], then: impl FnOnce(&mut Self, &[u32]) -> T) -> Option<T> {
        let was = self.needed.len();
        self.decided[c as usize] = Some(i);
        self.need(self.p.classes[c as usize][i as usize].children.clone());
        let result = (!self.loops(c)).then(|| {
            let mut open = others.to_vec();
            open.extend(self.needed[was..].iter().copied().filter(|&k| self.decided[k as usize].is_none()));
            then(self, &open)
        });
        self.forget(was);
        self.decided[c as usize] = None;
        result
    }

    /// Cost of the part's classes that the best solution needs.
    fn cost_within(&mut self, part: u32) -> u64 {
        self.walk.cost(self.p, &self.best);
        let needed = self.walk.order.iter().filter(|&&c| self.part_of[c as usize] == part);
        needed.map(|&c| self.p.classes[c as usize][self.best[c as usize] as usize].cost).sum()
    }

    /// Tries the alternatives of one open class; gives a bound of what the part costs here.
    fn branch(&mut self, part: &Part, open: &[u32], rest: u64, nodes: &mut usize) -> u64 {
        let bound = self.bound(part, open);
        if rest.saturating_add(bound) >= self.best_cost || *nodes == 0 || self.steps == 0 {
            return bound;
        }
        *nodes -= 1;
        // The fewer alternatives, the sooner they run out.
        let Some(at) = (0..open.len()).min_by_key(|&i| self.terms[open[i] as usize].len()) else {
            self.leaf(part);
            return bound;
        };
        let c = open[at];
        let others: Vec<u32> = open.iter().copied().filter(|&o| o != c).collect();
        let mut order = self.terms[c as usize].clone();
        // The best so far first.
        if let Some(at) = order.iter().position(|&i| i == self.best[c as usize]) {
            order[..=at].rotate_right(1);
        }
        let mut least = u64::MAX;
        for i in order {
            let found = self.with(c, i, &others, |s, open| s.branch(part, open, rest, nodes));
            least = least.min(found.unwrap_or(u64::MAX));
        }
        least.max(bound)
    }

    /// True when what is decided leads from a class into a cycle, whatever the rest will be.
    fn loops(&mut self, c: u32) -> bool {
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut mark = vec![0u8; self.p.classes.len()];
        let mut stack: Vec<(u32, usize)> = vec![(c, 0)];
        mark[c as usize] = OPEN;
        while let Some((k, next)) = stack.pop() {
            self.steps = self.steps.saturating_sub(1);
            let decided = self.decided[k as usize].map(|i| &self.p.classes[k as usize][i as usize].children);
            match decided.and_then(|kids| kids.get(next)) {
                None => mark[k as usize] = DONE,
                Some(&j) => {
                    stack.push((k, next + 1));
                    match mark[j as usize] {
                        OPEN => return true,
                        DONE => {}
                        _ => {
                            mark[j as usize] = OPEN;
                            stack.push((j, 0));
                        }
                    }
                }
            }
        }
        false
    }

    /// All is decided: the choice counts if it has no cycle and costs less.
    fn leaf(&mut self, part: &Part) {
        let mut s = self.best.clone();
        for &c in part.open.iter().chain(&part.below) {
            if let Some(i) = self.decided[c as usize] {
                s[c as usize] = i;
            }
        }
        if let Some(cost) = self.walk.cost(self.p, &s)
            && cost < self.best_cost
        {
            (self.best, self.best_cost) = (s, cost);
        }
    }

    /// What the part costs at least, with the choices made.
    fn bound(&mut self, part: &Part, open: &[u32]) -> u64 {
        let p = self.p;
        let below: Vec<u32> = part.below.iter().copied().filter(|&k| !self.is_needed[k as usize]).collect();
        // Who might use a class that is not needed yet.
        let mut users: Vec<u32> = vec![0; if below.is_empty() { 0 } else { p.classes.len() }];
        let mut steps = (p.classes.len() / 8 + self.needed.len()) as u64;
        for &c in open.iter().chain(&below) {
            let mut kids: Vec<u32> = Vec::new();
            for &i in &self.terms[c as usize] {
                kids.extend(
                    p.classes[c as usize][i as usize].children.iter().filter(|&&k| !self.is_needed[k as usize]),
                );
                steps += 1;
            }
            kids.sort_unstable();
            kids.dedup();
            kids.iter().for_each(|&k| users[k as usize] += 1);
        }
        below.iter().for_each(|&k| self.share[k as usize] = 0);
        // Shares grow from zero, so that any number of rounds is a bound.
        for _ in 0..3 {
            let mut same = true;
            for &k in below.iter().rev() {
                let share = self.cheapest(k) / u64::from(users[k as usize].max(1));
                same &= share == self.share[k as usize];
                self.share[k as usize] = share;
                steps += self.terms[k as usize].len() as u64;
            }
            if same {
                break;
            }
        }
        let mut sum: u64 = open.iter().map(|&c| self.cheapest(c)).sum();
        let number = self.part_of[part.open[0] as usize];
        for &c in self.needed.iter().filter(|&&c| self.part_of[c as usize] == number) {
            if let Some(i) = self.decided[c as usize] {
                sum += p.classes[c as usize][i as usize].cost;
            }
        }
        below.iter().for_each(|&k| self.share[k as usize] = 0);
        self.steps = self.steps.saturating_sub(steps);
        sum
    }

    /// The cheapest alternative of a class, with shares of what is below it.
    fn cheapest(&self, c: u32) -> u64 {
        let terms = &self.p.classes[c as usize];
        let cost = |&i: &u32| {
            let t = &terms[i as usize];
            t.children.iter().fold(t.cost, |s, &k| s.saturating_add(self.share[k as usize]))
        };
        self.terms[c as usize].iter().map(cost).min().unwrap_or(0)
    }
}
